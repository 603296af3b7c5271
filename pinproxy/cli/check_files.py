"""What `check` reads besides the configuration: certificates that it pins, and the system's list of public suffixes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from pinproxy.net.named_file import open_named_file
from pinproxy.net.system_roots import certificates_in
from pinproxy.pins.chain import Certificate, certificate
from pinproxy.policy.public_suffix import PublicSuffixes, parse_public_suffixes
from pinproxy.settings.document import Document
from pinproxy.settings.findings import Remark

SHORT_LIVED = timedelta(days=100)
"""Certificates that last no longer are renewed by a machine, and as a rule with a new key each time."""

# Where Debian, Fedora and others keep the list, and keep it fresh. A package that bundles it was not taken: one lint is little
# reason for a dependency of a security program, and its copy would be as old as the lock file.
_PUBLIC_SUFFIX_LIST = Path("/usr/share/publicsuffix/public_suffix_list.dat")


def read_public_suffixes(path: Path = _PUBLIC_SUFFIX_LIST) -> PublicSuffixes:
    """Read the system's list; without one, single labels alone are known to be public."""
    try:
        return parse_public_suffixes(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return PublicSuffixes()


def remark_on_files(document: Document) -> Iterator[Remark]:
    """Find pins from files of certificates that are renewed often, with a new key unless their renewal was told otherwise."""
    directory = Path(document.file).absolute().parent
    for place in document.values:
        if place[-1:] == ("cert_file",) and "pins" in place:
            leaf = _leaf(directory / str(document.at(place)))
            if leaf is not None and leaf.not_after - leaf.not_before < SHORT_LIVED:
                days = (leaf.not_after - leaf.not_before).days
                text = f"the certificate lasts {days} days; the pin outlives it only if its renewal keeps the key"
                yield Remark("note", place, text)


def _leaf(path: Path) -> Certificate | None:
    """Read the certificate of a server; None: a CA's, or one that has gone since the configuration was loaded."""
    try:
        with open_named_file(path) as file:
            content = file.read()
        found = certificate(content if content.startswith(b"\x30") else certificates_in(content)[0] or b"")
        extensions = [extension.value for extension in found.x509.extensions]
    except (OSError, ValueError, IndexError):
        return None
    return None if any(isinstance(value, x509.BasicConstraints) and value.ca for value in extensions) else found
