"""`trust`, from the text of a configuration to a verdict, in every mode: its own roots, others', or none at all.

::

    ROOT                                   OTHER_ROOT            -
     └─ LEAF  roots.test, others.test       └─ nothing here      ALONE  pins-only.test
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509

from tests.harness.clients import Answer, connect_head, get_head, on_one_loop, read_answer
from tests.harness.configured import ConfiguredProxy, configured_proxy
from tests.harness.defects import forge_leaf
from tests.harness.origin import running_origin
from tests.harness.pki import make_leaf, make_root, server_context

ROOT, OTHER_ROOT = make_root(), make_root("Nobody's Root")
HOSTS = ("roots.test", "others.test", "pins-only.test")
LEAF, ALONE = make_leaf(ROOT, *HOSTS), forge_leaf(None, *HOSTS)
BACKUP = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="
Way = Literal["origination", "interception", "tunnel"]


@contextlib.asynccontextmanager
async def running(directory: Path, way: Way) -> AsyncIterator[ConfiguredProxy]:
    """Run two origins and a program with an entry for each way to trust them; the pins of all three are right."""
    (directory / "root.pem").write_bytes(ROOT.pem)
    (directory / "other.pem").write_bytes(OTHER_ROOT.pem)
    async with running_origin(server_context(LEAF)) as vouched, running_origin(server_context(ALONE)) as alone:
        entries = ((vouched, "{ca_file: root.pem}"), (vouched, "{ca_file: other.pem}"), (alone, "pins-only"))
        text = "defaults: {connect: tunnel, tls13: refuse}\n" if way == "tunnel" else ""
        text += f"pin_sets: {{keys: {{pins: [{LEAF.pin}, {ALONE.pin}, {BACKUP}]}}}}\nhosts:\n" + "".join(
            f"  - {{host: {host}, pin_set: keys, trust: {trust}, upstream: {{address: 127.0.0.1, port: {origin.port}}}}}\n"
            for host, (origin, trust) in zip(HOSTS, entries, strict=True)
        )
        async with configured_proxy(directory, text) as proxy:
            yield proxy


def ask(proxy: ConfiguredProxy, way: Way, host: str) -> Answer:
    """Get `/`; the client of a tunnel takes anything, that of an interception trusts the local CA."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        if way == "origination":
            sock.sendall(get_head(f"http://{host}/", host))
            return read_answer(sock)
        sock.sendall(connect_head(host))
        answer = read_answer(sock)
        if answer.status != 200:
            return answer
        context = ssl.create_default_context(cadata=proxy.app.local_ca.ca_pem.decode("ascii"))
        if way == "tunnel":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        with context.wrap_socket(sock, server_hostname=host) as tls:
            tls.sendall(get_head("/", host))
            return read_answer(tls)


@pytest.mark.attack(
    "a chain that ends in the roots of another host's entry",
    expect="chain_invalid",
    topic="certificates",
    motive="trust is a setting of each host",
)
@pytest.mark.parametrize("way", ["origination", "interception", "tunnel"])
async def test_a_chain_must_end_in_the_roots_of_its_own_entry(way: Way, tmp_path: Path) -> None:
    """The pins match each time: what is missing where it is denied is the right root, and nothing else."""
    async with running(tmp_path, way) as proxy:
        answers = [await asyncio.to_thread(ask, proxy, way, host) for host in HOSTS]
        assert [(answer.status, answer.code) for answer in answers] == [(200, None), (502, "chain_invalid"), (200, None)]


@pytest.mark.attack(
    "the local CA's key, stolen, and used for hosts that it was not made for (`constrain_names`)",
    expect="neutralise",
    topic="secrets",
    motive="RFC 5280 §4.2.1.10",
)
@on_one_loop
@pytest.mark.parametrize(
    ("constrained", "hosts", "permitted"),
    [
        ("true", ("roots.test", '"*.wild.test"', "192.0.2.1"), ["roots.test", "wild.test", "192.0.2.1/32"]),
        ("true", (), ["invalid"]),
        ("false", ("roots.test",), None),
    ],
    ids=["hosts", "no host", "not asked for"],
)
async def test_the_local_ca_is_made_for_the_hosts_of_the_file(
    constrained: str, hosts: tuple[str, ...], permitted: list[str] | None, tmp_path: Path
) -> None:
    """`constrain_names: true`: what the file lists at the start, and nothing at all where it lists nothing yet."""
    preamble = f"version: 1\nlisten: [127.0.0.1:0]\nadmin: null\nlocal_ca: {{publish: null, constrain_names: {constrained}}}\n"
    entries = ", ".join(f"{{host: {host}, pins: [{LEAF.pin}, {BACKUP}]}}" for host in hosts)
    async with configured_proxy(tmp_path, f"hosts: [{entries}]\n", preamble=preamble) as proxy:
        extensions = x509.load_pem_x509_certificate(proxy.app.local_ca.ca_pem).extensions
    found = [item.value for item in extensions if isinstance(item.value, x509.NameConstraints)]
    assert [[str(name.value) for name in item.permitted_subtrees or ()] for item in found] == ([permitted] if permitted else [])
