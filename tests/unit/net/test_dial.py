"""Resolve once, check every address, and connect to exactly what was checked."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import AddressDenied, DialRefused, DialTimeout, DnsFailed, LoopDetected, Overloaded
from pinproxy.limits import Limits
from pinproxy.net.dial import Dialler, resolve_with_system
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.upstream import _peer_of
from pinproxy.policy.rule import DialOverride

HOST = "api.example.test"


class Names:
    """A resolver that answers from a list, one answer for each question, and remembers the questions."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        """Answer."""
        self.asked.append(host)
        return self.answers.pop(0)


def dialler(
    resolver: Callable[[str], Awaitable[Sequence[str]]], limits: Limits | None = None, own: OwnAddresses | None = None
) -> Dialler:
    """Make a dialler that knows its own addresses."""
    return Dialler(limits or Limits(), own or OwnAddresses(), resolver)


# --- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "DNS rebinding: the name is harmless when checked and private when dialled",
    expect="neutralise",
    topic="authority",
    motive="CVE-2018-14505",
)
async def test_a_name_is_resolved_once_and_what_was_checked_is_what_is_dialled() -> None:
    """DNS rebinding: a second answer would be another one, and nobody asks for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        names = Names(["127.0.0.1"], ["192.0.2.1"])
        destination = await dialler(names).find(Authority(HOST, port), None, is_listed=True)
        assert destination.addresses == ("127.0.0.1",)
        with await dialler(names).connect(destination) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert sock.gettimeout() == 0.0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert names.asked == [HOST]


async def test_an_address_is_not_resolved() -> None:
    """It is what it says."""
    names = Names()
    destination = await dialler(names).find(Authority("192.0.2.1", 443), None, is_listed=True)
    assert (destination.addresses, names.asked) == (("192.0.2.1",), [])


async def test_an_override_is_where_the_dial_goes_and_the_name_stays() -> None:
    """`upstream: {address: …}`: its port, or that of the authority."""
    names = Names(["192.0.2.1"], ["192.0.2.1"])
    for override, port in ((DialOverride("inner.example.test", 8443), 8443), (DialOverride("inner.example.test"), 443)):
        destination = await dialler(names).find(Authority(HOST, 443), override, is_listed=True)
        assert (destination.authority, destination.port) == (Authority(HOST, 443), port)
    assert names.asked == ["inner.example.test"] * 2


async def _never(_host: str) -> Sequence[str]:
    await asyncio.Event().wait()
    raise AssertionError


async def _fails(_host: str) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def _is_no_name(host: str) -> Sequence[str]:
    raise UnicodeError(f"label too long: {host}")


@pytest.mark.parametrize(
    ("resolver", "said"),
    [(_fails, "does not resolve"), (_is_no_name, "does not resolve"), (Names([]), "has no address"), (_never, "within 0.05 s")],
    ids=["unknown", "no name", "no address", "no answer"],
)
async def test_a_name_without_an_address_is_a_dns_failure(resolver: Callable[[str], Awaitable[Sequence[str]]], said: str) -> None:
    """One code for all of them; what the resolver says of itself is not repeated."""
    asked = resolver if not isinstance(resolver, Names) else Names([])
    with pytest.raises(DnsFailed, match=said):
        await dialler(asked, Limits(dns_seconds=0.05)).find(Authority(HOST, 443), None, is_listed=True)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            "does not resolve: no name server gave an answer",
        ),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "does not resolve$"),
        (OSError(errno.EINVAL, "Invalid argument"), "does not resolve$"),
    ],
    ids=["nobody answered", "no such name", "EAI_SYSTEM"],
)
async def test_a_resolver_without_a_descriptor_is_no_name_that_does_not_resolve(failure: OSError, said: str) -> None:
    """It fails alike for both, so that somebody has to look; the twin has one left."""

    async def fail(_host: str) -> Sequence[str]:
        raise failure

    async def ask() -> None:
        await dialler(fail).find(Authority("api.example.test", 443), None, is_listed=True)

    with pytest.raises(DnsFailed, match=said):
        await ask()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        with pytest.raises(Overloaded, match="no descriptor is left to look"):
            await ask()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_system_resolves_as_it_does_for_everybody_else() -> None:
    """The default resolver; each address once."""
    found = await resolve_with_system("localhost")
    assert set(found) <= {"127.0.0.1", "::1"}
    assert len(set(found)) == len(found) > 0


# --- addresses that are denied -------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "one private address among the public ones of a name",
    expect="address_denied",
    topic="authority",
    motive="smokescreen",
)
@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["2606:4700::1111", "::ffff:127.0.0.1"]])
async def test_an_unlisted_host_is_denied_if_any_of_its_addresses_is_private(addresses: list[str]) -> None:
    """A second record is a second way in."""
    with pytest.raises(AddressDenied, match="not globally routable"):
        await dialler(Names(addresses)).find(Authority(HOST, 443), None, is_listed=False)


@pytest.mark.parametrize(
    ("limits", "is_listed", "addresses"),
    [
        (Limits(), False, ["8.8.8.8", "2606:4700::1111"]),
        (Limits(), True, ["10.0.0.1"]),
        (Limits(allow_private=True), False, ["10.0.0.1"]),
    ],
    ids=["public", "listed", "allow_private"],
)
async def test_public_addresses_listed_hosts_and_permission_pass(
    limits: Limits, addresses: list[str], *, is_listed: bool
) -> None:
    """The twins."""
    destination = await dialler(Names(addresses), limits).find(Authority(HOST, 443), None, is_listed=is_listed)
    assert destination.addresses == tuple(addresses)


@pytest.mark.attack(
    "a name or an address that leads back to the proxy, in any notation",
    expect="loop_detected",
    topic="authority",
    motive="RFC 9110 §7.6.3; a fix in smokescreen (eae8104)",
)
@pytest.mark.parametrize("is_listed", [True, False])
async def test_a_host_one_of_whose_addresses_is_ours_is_a_loop(*, is_listed: bool) -> None:
    """Listing a host does not make it anybody else; nor does a permission for private addresses."""
    own = OwnAddresses()
    own.add("127.0.0.1", 3128)
    names = Names(["8.8.8.8", "127.0.0.1"], ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(LoopDetected):
        await dialler(names, Limits(allow_private=True), own).find(Authority(HOST, 3128), None, is_listed=is_listed)
    twin = await dialler(names, Limits(allow_private=True), own).find(Authority(HOST, 3129), None, is_listed=is_listed)
    assert twin.addresses == ("8.8.8.8", "127.0.0.1")


# --- connecting --------------------------------------------------------------------------------------------------------


def closed_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_a_port_that_nobody_listens_on_is_refused() -> None:
    """With one address or several."""
    for addresses in (["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
        made = dialler(Names(addresses))
        destination = await made.find(Authority(HOST, closed_port()), None, is_listed=True)
        with pytest.raises(DialRefused):
            await made.connect(destination)


async def test_a_second_address_serves_where_the_first_refuses() -> None:
    """RFC 8305: the addresses are tried one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        made = dialler(Names(["127.0.0.3", "127.0.0.1"]))
        with await made.connect(await made.find(Authority(HOST, port), None, is_listed=True)) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"


@pytest.mark.attack("an address that answers no SYN", expect="dial_timeout", topic="faults")
async def test_an_address_that_does_not_answer_is_waited_for_only_so_long() -> None:
    """A listener whose backlog is full answers no SYN, on loopback as anywhere else."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        crowd = []
        for _ in range(4):
            waiting = socket.socket()
            waiting.settimeout(0)
            waiting.connect_ex(server.getsockname())
            crowd.append(waiting)
        made = dialler(Names(["127.0.0.1"]), Limits(connect_seconds=0.2))
        destination = await made.find(Authority(HOST, server.getsockname()[1]), None, is_listed=True)
        with pytest.raises(DialTimeout, match=r"within 0\.2 s"):
            await made.connect(destination)
        for waiting in crowd:
            waiting.close()


async def test_an_origin_that_resets_as_soon_as_it_is_there_has_refused() -> None:
    """The kernel has forgotten the peer's name by then; that is no failure of ours, and leaves no socket behind."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        assert _peer_of(sock, Authority(HOST, 443)) == server.getsockname()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        peer.close()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        with pytest.raises(DialRefused, match="reset the connection as soon as it was there"):
            _peer_of(sock, Authority(HOST, 443))
        assert sock.fileno() == -1
