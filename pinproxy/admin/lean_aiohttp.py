"""aiohttp without its client's roots: importing it makes two TLS contexts, each with every root of the system's file in it.

They take 1.6 MiB and 50 ms of each start (aiohttp 3.14, 144 roots), and nothing of ours asks anybody through aiohttp. Everybody
has it from here.
"""

from __future__ import annotations

import os

_VARIABLE = "SSL_CERT_FILE"  # names the file that OpenSSL's defaults stand for (X509_get_default_cert_file(3))
_named = os.environ.get(_VARIABLE)
os.environ[_VARIABLE] = os.devnull
try:
    from aiohttp import web
finally:
    if _named is None:
        del os.environ[_VARIABLE]
    else:
        os.environ[_VARIABLE] = _named

__all__ = ["web"]
