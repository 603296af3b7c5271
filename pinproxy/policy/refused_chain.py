"""What refused certificates say of themselves, for whoever has to find out why. No verdict rests on a word of it.

Rules of this file:
- A server writes what it likes into a certificate: every name is escaped, cut, and one of a few.
- Nothing raises: what cannot be read is said to be unreadable.
"""

from __future__ import annotations

from pinproxy.authority import Authority
from pinproxy.errors import CertificateExpired, CertificateSyntaxError, ChainInvalid, HostnameMismatch
from pinproxy.pins.chain import Certificate, SentChain
from pinproxy.policy.server_name import presented_names
from pinproxy.policy.verdict import printable

_NAMES_SHOWN = 5
_LONGEST_NAME = 80
_CERTIFICATES_SHOWN = 4
_READ = 10  # as many as `limits.chain_certificates` lets pass by default: what is sent is not bounded yet

_TO_DO_NAME = (
    "use a name it has, or have the certificate name {host}; if this is not the server, see where DNS or `upstream` leads"
)
_TO_DO_DATES = "compare `date -u` on this machine; if the clock is right, have the certificate renewed"
_TO_DO_ALONE = "if the server's owner confirms its key, pin it with `trust: pins-only`"
_TO_DO_LEAF = "have the server send its intermediates; if the CA is a private one, name its roots in `trust: {ca_file: …}`"
_TO_DO_ROOT = "if the CA is a private one of yours, name its root in `trust: {ca_file: …}`; else somebody may be in between"


def wrong_name(leaf: Certificate | None, host: str) -> HostnameMismatch:
    """Refuse a certificate for its names.

    Args:
        leaf: The certificate; None: it could not be had.
        host: The name it should have.
    """
    if leaf is None:
        return HostnameMismatch(f"the server's certificate is not for {host}")
    to_do = f"\n  to do     {_TO_DO_NAME.format(host=host)}"
    try:
        names = presented_names(leaf)
    except CertificateSyntaxError:
        return HostnameMismatch(f"the names of the server's certificate cannot be read; expected {host} among them{to_do}")
    if not names:
        text = f"the server's certificate has no host name in its subjectAltName, and {_shown(leaf.subject)} does not count"
        return HostnameMismatch(f"{text}; expected {host}{to_do}")
    listed = ", ".join(_shown(name) for name in names[:_NAMES_SHOWN])
    further = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return HostnameMismatch(f"the server's certificate is for {listed}{further}, not for {host}{to_do}")


def wrong_dates(sent: SentChain | None, authority: Authority, reason: str) -> CertificateExpired:
    """Refuse a chain for its dates.

    Args:
        sent: What the server sent, leaf first; None: it could not be had.
        authority: Who showed it.
        reason: The TLS library's own words.
    """
    leaf = sent.certificates[0] if sent is not None and sent.certificates else None
    own = f"; the server's own is for {_dates(leaf)}" if leaf is not None and leaf.is_readable else ""
    return CertificateExpired(f"{authority}: {reason}{own}{_seen(sent)}\n  to do     {_TO_DO_DATES}")


def no_path(sent: SentChain | None, authority: Authority, reason: str, *, is_end_missing: bool) -> ChainInvalid:
    """Refuse a chain that is none.

    Args:
        sent: What the server sent, leaf first; None: it could not be had.
        authority: Who showed it.
        reason: The TLS library's own words.
        is_end_missing: Whether the reason is that no root was reached; else a certificate is at fault.
    """
    if sent is None or not sent.certificates or not is_end_missing:
        return ChainInvalid(f"{authority}: {reason}{_seen(sent)}")
    end = _end_of(sent)
    if not end.is_readable:
        return ChainInvalid(f"{authority}: {reason}{_seen(sent)}")
    if end.issuer != end.subject:
        what = f"{_shown(end.issuer)}, which issued {_shown(end.subject)}, was not sent and is no root of this host's `trust`"
        to_do = _TO_DO_LEAF if end is sent.certificates[0] else _TO_DO_ROOT
    elif end is sent.certificates[0]:
        what, to_do = f"{_shown(end.subject)} vouches for itself, and is no root of this host's `trust`", _TO_DO_ALONE
    else:
        what, to_do = f"{_shown(end.subject)}, where it ends, is no root of this host's `trust`", _TO_DO_ROOT
    return ChainInvalid(f"{authority}: {reason}: {what}{_seen(sent)}\n  to do     {to_do}")


def _end_of(sent: SentChain) -> Certificate:
    """Follow the issuers' names from the leaf as far as they were sent."""
    readable = [item for item in sent.certificates[:_READ] if item.is_readable]
    by_subject = {item.subject: item for item in reversed(readable)}
    end = sent.certificates[0]
    for _ in readable:
        if end.issuer == end.subject or end.issuer not in by_subject:
            break
        end = by_subject[end.issuer]
    return end


def _seen(sent: SentChain | None) -> str:
    certificates = sent.certificates if sent is not None else ()
    lines = [
        f"\n  {'' if index else 'seen':<9} {'ca' if index else 'leaf':<4}  {_described(item)}"
        for index, item in enumerate(certificates[:_CERTIFICATES_SHOWN])
    ]
    if len(certificates) > _CERTIFICATES_SHOWN:
        lines.append(f"\n{' ' * 12}and {len(certificates) - _CERTIFICATES_SHOWN:,} more")
    return "".join(lines)


def _described(item: Certificate) -> str:
    if not item.is_readable:
        return "(unreadable)"
    return f"{_shown(item.subject)}   {_dates(item)}, issued by {_shown(item.issuer)}"


def _dates(item: Certificate) -> str:
    return f"{item.not_before:%Y-%m-%d} to {item.not_after:%Y-%m-%d}"


def _shown(name: str) -> str:
    return printable(name, _LONGEST_NAME) or "(nameless)"
