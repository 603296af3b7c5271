"""Sockets: listening, dialling, handshakes, the local CA and relays. The only rooms where OSError and ssl.SSLError are met."""
