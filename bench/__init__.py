"""Peers side by side: one command for each scenario, proxies on one core, everything else on the other. See README.md."""
