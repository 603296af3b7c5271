"""Whether a certificate names a host, by our own reading of RFC 9525; asked only where no library has answered already.

Rules of this file:
- The subjectAltName alone counts, never the common name.
- A star stands for exactly one whole label, the first, with two or more behind it: `*.test` names nobody.
- An address is named by its octets, never by a text that looks like it.
"""

from __future__ import annotations

import ipaddress

from cryptography import x509

from pinproxy.authority import is_ip_address
from pinproxy.errors import CertificateSyntaxError
from pinproxy.pins.chain import Certificate


def names_host(item: Certificate, host: str) -> bool:
    """Tell whether a certificate's subjectAltName holds a host (RFC 9525 §6).

    Args:
        item: The server's certificate.
        host: Canonical host.

    Raises:
        CertificateSyntaxError: Its extensions cannot be read.
    """
    names = _alternative_names(item)
    if names is None:
        # > RFC 9525 §6.3: … the Common Name … MUST NOT be used.
        return False
    if is_ip_address(host):
        # > RFC 9525 §6.4: … the reference identity matches if and only if the octets are identical.
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    return any(_covers(name, host) for name in names.get_values_for_type(x509.DNSName))


def presented_names(item: Certificate) -> tuple[str, ...]:
    """List the host names and addresses of a certificate's subjectAltName, as it writes them; empty: it has none.

    Raises:
        CertificateSyntaxError: Its extensions cannot be read.
    """
    names = _alternative_names(item)
    if names is None:
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def _alternative_names(item: Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return item.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CertificateSyntaxError("the extensions of the certificate cannot be parsed") from error


def _covers(name: str, host: str) -> bool:
    # > RFC 9525 §6.3: … a case-insensitive ASCII comparison
    if not name.isascii():
        return False
    presented = name.lower()
    if not presented.startswith("*."):
        return presented == host
    # > RFC 9525 §6.3: The wildcard character … is the complete and only content of the left-most label.
    base = presented.removeprefix("*.")
    label, _, rest = host.partition(".")
    return bool(label) and rest == base and "." in base
