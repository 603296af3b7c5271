"""A sidecar forward proxy that gives unmodified services certificate and public-key pinning."""

__version__ = "0.1.0"
