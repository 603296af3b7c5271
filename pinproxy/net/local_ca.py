"""The local CA: what lets interception end a client's TLS in the name of the host the client wanted.

Rules of this file:
- It mints for whatever host it is told; the caller must have verified that host's real server first (Squid's "mimic" class).
- The private keys never leave this object but for `ca.key` (see `ca_files.py`): they are in no repr, log or error.
- No `sni_callback` anywhere: switching contexts inside one crashes Python when the first context is collected
  (CVE-2026-19445). A context that leaves the cache lives on while a connection uses it, by plain references.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from pinproxy.errors import InternalError
from pinproxy.net import ca_files, minting, published
from pinproxy.net.own_chain import load_own_chain

_STORED_LIFETIME = timedelta(days=3650)
# A throw-away CA cannot be renewed: its clients read the published root once, at their start. A sidecar that runs for a year
# without a restart has stopped getting security updates too.
_IN_MEMORY_LIFETIME = timedelta(days=365)
_RENEWED_BEFORE_END = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Minted:
    """A context and the time within which it may be handed out."""

    context: ssl.SSLContext
    usable_from: datetime
    usable_until: datetime


class LocalCa:
    """A root, one leaf key for all hosts, and the server contexts made so far. For use by one thread."""

    def __init__(self, certificate: x509.Certificate, key: minting.CaKey, max_contexts: int = 1024) -> None:
        """Hold a root and its key.

        Args:
            certificate: The root.
            key: Its key.
            max_contexts: Contexts kept; the least recently used is dropped, so that a client that asks for 100,000 names
                costs time and not memory.
        """
        self._certificate = certificate
        self._key = key
        # One key for all leaves: making one per host would cost as much again as minting, and protect nothing, since this
        # process holds them all.
        self._leaf_key = minting.new_key()
        self._leaf_key_pem = minting.key_pem(self._leaf_key)
        self._max_contexts = max_contexts
        self._contexts: OrderedDict[tuple[str, str | None], _Minted] = OrderedDict()

    def __repr__(self) -> str:
        """Name the root and nothing of its keys."""
        return f"LocalCa({self._certificate.subject.rfc4514_string()!r}, contexts={len(self._contexts)})"

    @classmethod
    def create_in_memory(cls, now: datetime, permitted_hosts: tuple[str, ...] | None = None) -> LocalCa:
        """Make a throw-away CA whose key is in no file.

        Args:
            now: The time, with a zone.
            permitted_hosts: The only hosts it can name, with everything below them; None: any.
        """
        key = minting.new_key()
        return cls(minting.new_root(key, now, _IN_MEMORY_LIFETIME, permitted_hosts), key)

    @classmethod
    def load_or_create(cls, directory: Path, now: datetime) -> LocalCa:
        """Load the CA of a directory, or make it there at first start.

        Args:
            directory: Where `ca.pem` and `ca.key` live.
            now: The time, with a zone.

        Raises:
            SettingsError: The files are unsafe, incomplete, no CA, or outside their validity.
        """

        def make() -> tuple[bytes, bytes]:
            key = minting.new_key()
            return minting.new_root(key, now, _STORED_LIFETIME).public_bytes(Encoding.PEM), minting.key_pem(key)

        certificate_pem, key_pem = ca_files.load_or_create_files(directory, make)
        key = _parse_key(directory / ca_files.KEY_NAME, key_pem)
        return cls(_parse_root(directory / ca_files.CERTIFICATE_NAME, certificate_pem, key, now), key)

    @property
    def ca_pem(self) -> bytes:
        """The root certificate, for clients to trust."""
        return self._certificate.public_bytes(Encoding.PEM)

    def publish(self, directory: Path, system_roots_pem: bytes) -> None:
        """Write `ca.pem`, `bundle.pem` and `truststore.p12`; see `publish_files`."""
        published.publish_files(directory, self.ca_pem, system_roots_pem)

    def mint_leaf(self, host: str, now: datetime) -> bytes:
        """Make a leaf certificate.

        Args:
            host: A name or address in the form of `Authority.host`.
            now: The time, with a zone.

        Returns:
            The certificate as PEM.

        Raises:
            InternalError: The CA is past its end.
        """
        return self._mint(host, now).public_bytes(Encoding.PEM)

    def server_context(self, host: str, alpn: str | None, now: datetime) -> ssl.SSLContext:
        """Return a context that speaks for a host.

        Args:
            host: A name or address in the form of `Authority.host`, whose real server has been verified.
            alpn: The one application protocol to select, the one its server chose; None: no ALPN.
            now: The time, with a zone.

        Raises:
            InternalError: The CA is past its end.
        """
        place = host, alpn
        minted = self._contexts.get(place)
        if minted is None or not minted.usable_from <= now < minted.usable_until:
            minted = self._new_context(host, alpn, now)
            self._contexts[place] = minted
            if len(self._contexts) > self._max_contexts:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(place)
        return minted.context

    def _new_context(self, host: str, alpn: str | None, now: datetime) -> _Minted:
        leaf = self._mint(host, now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        # Two tickets, as OpenSSL has it, cost us more than the handshake that a client might spare us with one of them later.
        context.num_tickets = 0
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        # > RFC 8446 §4.4.2: a certificate that specifies a trust anchor MAY be omitted from the chain.
        load_own_chain(context, leaf.public_bytes(Encoding.PEM) + self._leaf_key_pem)
        ends = leaf.not_valid_after_utc
        is_last = ends == self._certificate.not_valid_after_utc
        return _Minted(context, leaf.not_valid_before_utc, ends if is_last else ends - _RENEWED_BEFORE_END)

    def _mint(self, host: str, now: datetime) -> x509.Certificate:
        if now >= self._certificate.not_valid_after_utc:
            end = self._certificate.not_valid_after_utc.date()
            raise InternalError(f"the local CA ended on {end}; restart pinproxy, and the clients that trust it")
        return minting.new_leaf(host, self._leaf_key.public_key(), self._certificate, self._key, now)


def _parse_key(file: Path, pem: bytes) -> minting.CaKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ca_files.refused(file, "the key is encrypted; expected a key without a password") from error
    except ValueError as error:
        raise ca_files.refused(file, "no private key in PEM can be decoded from it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ca_files.refused(file, f"a {type(key).__name__}; expected an EC or RSA key, which every TLS client knows")
    return key


def _parse_root(file: Path, pem: bytes, key: minting.CaKey, now: datetime) -> x509.Certificate:
    """Check what a client would check, so that a CA that cannot work fails at start and not at every connection."""
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem)
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except ValueError as error:
        raise ca_files.refused(file, "expected exactly one PEM certificate that can be decoded") from error
    except x509.ExtensionNotFound as error:
        wanted = "basicConstraints, keyUsage and subjectKeyIdentifier"
        raise ca_files.refused(file, f"the certificate lacks an extension; a CA has {wanted}") from error
    if not basic.ca or not usage.key_cert_sign:
        raise ca_files.refused(file, "not a CA certificate; expected basicConstraints CA and keyUsage keyCertSign")
    if certificate.public_key() != key.public_key():
        raise ca_files.refused(file, f"the certificate does not belong to the key in {ca_files.KEY_NAME}")
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        start, end = certificate.not_valid_before_utc.date(), certificate.not_valid_after_utc.date()
        raise ca_files.refused(file, f"valid from {start} to {end}; remove both files to start a new CA, and trust that one")
    return certificate
