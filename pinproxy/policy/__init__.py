"""Decisions without sockets, clock or event loop: which rule a host meets, what its chain is worth, what follows."""
