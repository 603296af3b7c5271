"""Readers of TLS on the wire, sans-IO: the ClientHello, the TLS 1.2 server flight, alerts. Pure."""
