"""Chains of every kind that must be denied, and their twins, each of which differs in one thing and is served.

Drawn: what is sent, and in [brackets] what is wrong with it.
"""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.harness.defects import as_version_1, forge_ca, forge_leaf, key_usage, signed_by_md5, signed_by_sha1
from tests.harness.pki import NOW, YEAR, Issued, make_intermediate, make_leaf, make_root
from tests.harness.running import HOST

#     the root, which is trusted
#      └─ CA
#          └─ leaf  api.example.test
ROOT = make_root()
CA = forge_ca(ROOT, "Sound CA")
RSA_CA = forge_ca(ROOT, "Sound CA with RSA", key=rsa.generate_private_key(65537, 2048))
DAY = timedelta(days=1)
TRUST = ROOT.anchors


def under(
    *extensions: tuple[x509.ExtensionType, bool], without: type[x509.ExtensionType] | None = None, name: str = HOST
) -> Issued:
    """Make a leaf for a name under an intermediate that has these extensions instead, or lacks one."""
    return forge_leaf(forge_ca(ROOT, "Odd CA", instead=extensions, without=[without] if without else []), name)


def chain_of_three(path_length: int) -> Issued:
    """Make a leaf under two intermediates, the upper of which allows that many below it."""
    upper = forge_ca(ROOT, "Upper CA", instead=[(x509.BasicConstraints(ca=True, path_length=path_length), True)])
    return forge_leaf(forge_ca(upper, "Lower CA"), HOST)


def for_purpose(purpose: x509.ObjectIdentifier) -> tuple[x509.ExtensionType, bool]:
    """Make an extendedKeyUsage."""
    return x509.ExtendedKeyUsage([purpose]), False


def permitting(domain: str) -> tuple[x509.ExtensionType, bool]:
    """Make nameConstraints."""
    return x509.NameConstraints(permitted_subtrees=[x509.DNSName(domain)], excluded_subtrees=None), True


def excluding(domain: str) -> tuple[x509.ExtensionType, bool]:
    """Make nameConstraints of the other kind."""
    return x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=[x509.DNSName(domain)]), True


def named(text: str) -> tuple[x509.ExtensionType, bool]:
    """Make a subjectAltName of one dNSName, whatever its letters."""
    return x509.SubjectAlternativeName([x509.DNSName._init_without_validation(text)]), False


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANOTHER_ROOT = make_root("Nobody's Root")

INVALID = {
    # leaf <- [a root that is not trusted]
    "untrusted root": make_leaf(ANOTHER_ROOT, HOST),
    # leaf <- CA of another root <- [not trusted], the untrusted root sent along
    "untrusted intermediate": make_leaf(make_intermediate(ANOTHER_ROOT), HOST),
    # [leaf, its own issuer]
    "self-signed": forge_leaf(None, HOST),
    # [leaf that is a CA, its own issuer]
    "self-signed CA": forge_leaf(None, HOST, instead=[(x509.BasicConstraints(ca=True, path_length=None), True)]),
    # [leaf, signed by SHA-1] <- CA
    "SHA-1 under a leaf": signed_by_sha1(forge_leaf(CA, HOST)),
    # leaf <- [CA, signed by SHA-1] <- root
    "SHA-1 under an intermediate": forge_leaf(signed_by_sha1(forge_ca(ROOT, "SHA-1 CA")), HOST),
    # [leaf, signed by MD5] <- CA with RSA
    "MD5 under a leaf": signed_by_md5(forge_leaf(RSA_CA, HOST)),
    # leaf <- [a leaf]
    "a leaf under a leaf": forge_leaf(forge_leaf(CA, "other.example.test"), HOST),
    # [leaf for clients] <- CA
    "leaf for clients only": forge_leaf(CA, HOST, instead=[for_purpose(CLIENT_AUTH)]),
    # leaf <- [CA for clients]
    "intermediate for clients only": under(for_purpose(CLIENT_AUTH)),
    # leaf <- Lower CA <- [Upper CA, path length 0]
    "path length exceeded": chain_of_three(0),
    # leaf <- [CA that permits only other.test]
    "name constraints violated": under(permitting("other.test")),
    # leaf <- [CA that excludes example.test]
    "name constraints exclude the name": under(excluding("example.test")),
    # [leaf for *.example.test] <- [CA that permits only api.example.test]
    "a wildcard over more than is permitted": under(permitting(HOST), name="*.example.test"),
    # leaf <- [not a CA]
    "CA bit false": under((x509.BasicConstraints(ca=False, path_length=None), True)),
    # leaf <- [no basicConstraints]
    "CA bit missing": under(without=x509.BasicConstraints),
    # leaf <- [CA that may not sign certificates]
    "CA may not sign": under((key_usage(digital_signature=True), True)),
    # [leaf with RSA-1024] <- CA
    "RSA-1024": forge_leaf(CA, HOST, key=rsa.generate_private_key(65537, 1024)),  # noqa: S505 - the defect
    # leaf <- [CA with DSA]
    "DSA": forge_leaf(forge_ca(ROOT, "DSA CA", key=dsa.generate_private_key(1024)), HOST),  # noqa: S505 - the defect
    # leaf <- [CA of X.509 version 1]
    "version 1 intermediate": forge_leaf(as_version_1(forge_ca(ROOT, "Old CA")), HOST),
    # [leaf with a critical extension that nobody knows] <- CA
    "unknown critical extension": forge_leaf(CA, HOST, instead=[(UNKNOWN, True)]),
    # leaf <- [CA that signed with another key than the one it shows]
    "wrong signature": forge_leaf(forge_ca(None, "Sound CA"), HOST),
    # leaf <- [CA with a critical extension that nobody knows]
    "unknown critical extension of the intermediate": under((UNKNOWN, True)),
}

WRONG_NAME = {
    "another host": forge_leaf(CA, "other.example.test"),
    "the name in the CN alone": forge_leaf(CA, common_name=HOST),
    "the name in the CN beside another": forge_leaf(CA, "other.example.test", common_name=HOST),
    "a wildcard over two labels": forge_leaf(CA, "*.test"),
    "a wildcard inside a label": forge_leaf(CA, "a*.example.test"),
    "a parent": forge_leaf(CA, "example.test"),
    "a longer name": forge_leaf(CA, f"{HOST}.evil.test"),
    "a star for every label": forge_leaf(CA, "*.*.test"),
    "a star alone": forge_leaf(CA, "*"),
    "a NUL behind the name": forge_leaf(CA, f"{HOST}\0.evil.test"),
    "a NUL in front of a dot": forge_leaf(CA, f"{HOST}\0"),
    "full-width letters": forge_leaf(CA, common_name=HOST, instead=[named("\uff41pi.example.test")]),
    "a blank behind the name": forge_leaf(CA, f"{HOST} "),
}

OUT_OF_TIME = {
    "ended": forge_leaf(CA, HOST, not_before=NOW - YEAR, not_after=NOW - DAY),
    "not begun": forge_leaf(CA, HOST, not_before=NOW + DAY, not_after=NOW + YEAR),
    "issuer ended": forge_leaf(forge_ca(ROOT, "Old CA", not_after=NOW - DAY), HOST),
    "issuer not begun": forge_leaf(forge_ca(ROOT, "Young CA", not_before=NOW + DAY), HOST),
}

SOUND = {
    "plain": forge_leaf(CA, HOST),
    "for servers and clients": forge_leaf(CA, HOST, instead=[(x509.ExtendedKeyUsage([CLIENT_AUTH, SERVER_AUTH]), False)]),
    "intermediate for servers": under(for_purpose(SERVER_AUTH)),
    "P-384": forge_leaf(forge_ca(ROOT, "P-384 CA", key=ec.generate_private_key(ec.SECP384R1())), HOST),
    "path length met": chain_of_three(1),
    "name constraints met": under(permitting("example.test")),
    "name constraints that exclude another": under(excluding("other.test")),
    "a wildcard within what is permitted": under(permitting("example.test"), name="*.example.test"),
    "RSA-2048": forge_leaf(CA, HOST, key=rsa.generate_private_key(65537, 2048)),
    "unknown extension, not critical": forge_leaf(CA, HOST, instead=[(UNKNOWN, False)]),
    "a wildcard for the first label": forge_leaf(CA, "*.example.test"),
    "another common name": forge_leaf(CA, HOST, common_name="other.example.test"),
    "RSA, signed by SHA-256": forge_leaf(RSA_CA, HOST),
    "ends soon": forge_leaf(CA, HOST, not_after=NOW + timedelta(minutes=30)),
}
