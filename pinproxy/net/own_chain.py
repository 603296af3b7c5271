"""Certificate chains of our own, given to a TLS context together with their key."""

from __future__ import annotations

import os
import ssl
import sys
import tempfile

from pinproxy.net.exhaustion import descriptor_needed


@descriptor_needed("to hand a certificate of our own over with")
def load_own_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a context its certificate and key, which Python takes from a file only: one in memory where there is such a thing.

    Args:
        context: For either side of a handshake.
        pem: Certificates, leaf first, and the unencrypted key of the leaf.

    Raises:
        ssl.SSLError: OpenSSL does not take them.
        Overloaded: No descriptor is left for that file.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create("pinproxy-chain")
        with os.fdopen(descriptor, "wb", buffering=0) as memory:
            memory.write(pem)
            try:
                context.load_cert_chain(f"/proc/self/fd/{descriptor}")
            except (FileNotFoundError, PermissionError):  # no /proc, or a process that may not look into its own
                pass
            else:
                return
    with tempfile.NamedTemporaryFile(prefix="pinproxy-") as file:  # mode 0600, removed at once
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
