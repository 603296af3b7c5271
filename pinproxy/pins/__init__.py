"""Pins: what they are, how they are written, and which certificates meet them. Pure."""
