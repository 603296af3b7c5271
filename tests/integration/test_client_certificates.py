"""Servers that ask who we are: `client_cert` is shown to them, and to nobody else."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from pinproxy.policy.rule import ClientCertificate, HostRule
from pinproxy.policy.table import PolicyTable
from tests.harness.clients import Way, ask, connect_head, each_way, get_head, read_answer
from tests.harness.origin import Handler, running_origin
from tests.harness.pki import Issued, make_client, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

each_version = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
NAMES = ("first.example.test", "second.example.test")


def asking_context(leaf: Issued, clients: Issued, version: ssl.TLSVersion, *, insists: bool = True) -> ssl.SSLContext:
    """Make an origin that asks for a certificate of the CA `clients`."""
    context = server_context(leaf)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED if insists else ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=clients.der)
    return context


def shown(client: Issued) -> ClientCertificate:
    """Make what a rule holds."""
    return ClientCertificate("client.pem", client.pem + client.key_pem)


def answer_with_name() -> tuple[Handler, list[str | None]]:
    """Make an origin that answers every request, and a list of the names its clients showed."""
    names: list[str | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("peercert")
        names.append(found["subject"][0][0][1] if found else None)
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    return handle, names


@each_way
@each_version
async def test_a_server_that_asks_sees_the_certificate_of_the_rule(way: Way, version: ssl.TLSVersion) -> None:
    """It stands for the client, which has none of its own."""
    root, clients = make_root(), make_root("Clients")
    leaf = make_leaf(root, HOST)
    handler, names = answer_with_name()
    async with running_origin(asking_context(leaf, clients, version), handler) as origin:
        rule = host_rule([leaf.pin], root.anchors, port=origin.port, client_cert=shown(make_client(clients, NAMES[0])))
        async with running_proxy(rule) as proxy:
            assert (await ask(way, proxy)).status == 200
    assert names == [NAMES[0]]


@each_way
@each_version
async def test_without_a_certificate_a_server_that_insists_serves_nobody(way: Way, version: ssl.TLSVersion) -> None:
    """The twin: the same origin, and a rule that shows nothing."""
    root, clients = make_root(), make_root("Clients")
    leaf = make_leaf(root, HOST)
    handler, names = answer_with_name()
    async with (
        running_origin(asking_context(leaf, clients, version), handler) as origin,
        running_proxy(host_rule([leaf.pin], root.anchors, port=origin.port)) as proxy,
    ):
        # In interception under TLS 1.3 the origin hangs up after the 200: the client sees its connection cut.
        try:
            assert (await ask(way, proxy)).status == 502
        except (EOFError, OSError):
            assert (way, version) == ("interception", ssl.TLSVersion.TLSv1_3)
    assert names == []


@pytest.mark.attack(
    "a connection that was opened under another host's policy",
    expect="neutralise",
    topic="pins",
    motive="CVE-2025-13034",
)
@each_version
async def test_hosts_with_certificates_of_their_own_never_share_a_connection(version: ssl.TLSVersion) -> None:
    """Same trust, same protocols, another identity: another context."""
    root, clients = make_root(), make_root("Clients")
    hosts = ("a.example.test", "b.example.test")
    leaf = make_leaf(root, *hosts)
    handler, names = answer_with_name()
    async with running_origin(asking_context(leaf, clients, version, insists=False), handler) as origin:
        rules = [
            host_rule([leaf.pin], root.anchors, host=host, port=origin.port, client_cert=shown(make_client(clients, name)))
            for host, name in zip(hosts, NAMES, strict=True)
        ]
        async with running_proxy(*rules, host_rule([leaf.pin], root.anchors, host="**.example.test", port=origin.port)) as proxy:
            for host in (*hosts, *hosts):
                assert (await ask("origination", proxy, host)).status == 200
    assert names == [*NAMES]


async def test_a_new_certificate_serves_the_next_request() -> None:
    """A reload that renews it retires the connections that were opened with the old one."""
    root, clients = make_root(), make_root("Clients")
    leaf = make_leaf(root, HOST)
    handler, names = answer_with_name()
    async with running_origin(asking_context(leaf, clients, ssl.TLSVersion.TLSv1_3), handler) as origin:

        def rule(name: str) -> HostRule:
            client = make_client(clients, name)
            return host_rule([leaf.pin], root.anchors, port=origin.port, client_cert=shown(client))

        async with running_proxy(rule(NAMES[0])) as proxy:
            assert (await ask("origination", proxy)).status == 200
            proxy.server.swap(PolicyTable((rule(NAMES[1]),), "deny"))
            assert (await ask("origination", proxy)).status == 200
    assert names == [*NAMES]


@pytest.mark.attack(
    "an impostor asks for a client certificate and expects the request behind it",
    expect="pin_mismatch",
    topic="pins",
)
async def test_an_impostor_with_another_key_gets_no_request_whatever_it_was_shown() -> None:
    """The certificate is shown inside the handshake, the request only after the pins."""
    root, clients = make_root(), make_root("Clients")
    leaf, other = make_leaf(root, HOST), make_leaf(root, HOST)
    async with running_origin(asking_context(leaf, clients, ssl.TLSVersion.TLSv1_3)) as origin:
        rule = host_rule([other.pin], root.anchors, port=origin.port, client_cert=shown(make_client(clients)))
        async with running_proxy(rule) as proxy:
            answer = await ask("origination", proxy)
            assert (answer.status, answer.code) == (403, "pin_mismatch")
        await origin.quiet()
        assert bytes(origin.received) == b""


async def test_the_certificate_of_the_rule_is_shown_by_the_preflight_and_never_in_the_tunnel() -> None:
    """Who the client is, is the client's to say; a server that insists must still answer the handshake of our own before it."""
    root, clients = make_root(), make_root("Clients")
    leaf = make_leaf(root, HOST)
    handler, names = answer_with_name()
    async with running_origin(asking_context(leaf, clients, ssl.TLSVersion.TLSv1_2, insists=False), handler) as origin:
        rule = host_rule(
            [leaf.pin],
            root.anchors,
            port=origin.port,
            connect="tunnel",
            tls13="refuse",
            client_cert=shown(make_client(clients, NAMES[0])),
        )
        async with running_proxy(rule) as proxy:
            status = await asyncio.to_thread(_get_through_tunnel, proxy, root)
            assert status == 200
    assert names == [NAMES[0], None]


def _get_through_tunnel(proxy: RunningProxy, root: Issued) -> int:
    context = ssl.create_default_context(cadata=root.pem.decode("ascii"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        sock.sendall(connect_head())
        assert read_answer(sock).status == 200
        with context.wrap_socket(sock, server_hostname=HOST) as tls:
            tls.sendall(get_head("/"))
            return read_answer(tls).status
