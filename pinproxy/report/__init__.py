"""What happened, told to people and machines: one event for each proxied connection or request."""
