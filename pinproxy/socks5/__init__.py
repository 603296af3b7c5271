"""SOCKS5 without I/O (RFC 1928, RFC 1929): how long a message is, what it says, and what to answer. Pure."""
