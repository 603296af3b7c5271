"""A defect of ours: the client gets an answer it can read, the log the traceback, and nobody the text of the exception."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any

import pytest

from pinproxy.errors import ClientClosed, Refused, refusal_codes
from pinproxy.policy.password_hash import PasswordHash
from tests.harness.clients import Answer, Way, ask, connect, connect_head, each_way, get_head, read_answer
from tests.harness.pki import make_leaf, make_root
from tests.harness.running import HOST, host_rule, running_proxy
from tests.harness.socks5 import greet, read_exactly, socks_request
from tests.harness.users import basic

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
RULE = host_rule([LEAF.pin], ROOT.anchors)
SECRET = "what the defect is about"


class BrokenNames(dict[str, str]):
    """Names whose resolution is a defect."""

    def get(self, host: str, otherwise: Any = None) -> Any:  # noqa: ARG002 - the signature is dict's
        """Fail, and not in a way that anybody reckons with."""
        raise RuntimeError(SECRET)


class FailingNames(dict[str, str]):
    """Names whose resolution fails as it is told to."""

    failure: Exception = RuntimeError(SECRET)

    def get(self, host: str, otherwise: Any = None) -> Any:  # noqa: ARG002 - the signature is dict's
        """Fail, because of something that is not ours."""
        raise self.failure from OSError(errno.EIO, SECRET, SECRET)


def foreign_errors() -> list[Exception]:
    """Make one of each kind, anew: an exception that has been raised holds what it was raised in."""
    return [
        RuntimeError(SECRET),
        KeyError(SECRET),
        OSError(errno.EIO, SECRET, SECRET),
        ConnectionResetError(errno.ECONNRESET, SECRET),
        TimeoutError(SECRET),
        UnicodeError(SECRET),
        socket.gaierror(socket.EAI_NONAME, SECRET),
        ssl.SSLError(1, SECRET),
        ssl.SSLCertVerificationError(1, SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
    ]


def collect_defects() -> list[dict[str, Any]]:
    """Collect what the log would have got."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    return told


@pytest.mark.attack(
    "a defect of the proxy: the request fails closed, and no exception text leaves",
    expect="internal_error",
    topic="faults",
    motive="CVE-2024-2379",
)
@each_way
async def test_a_defect_before_the_way_is_open_is_answered_with_500(way: Way) -> None:
    """CONNECT as well as a request: with code and id, and without a word of the exception."""
    told = collect_defects()
    async with running_proxy(RULE, addresses=BrokenNames()) as proxy:
        answer = await ask(way, proxy)
        line = await proxy.connection()
    assert (answer.status, answer.code, answer.problem["code"]) == (500, "internal_error", "internal_error")
    assert (line["code"], line["decision"], line["status"]) == ("internal_error", "deny", 500)
    assert line["id"] == answer.fields["x-pinproxy-id"]
    assert SECRET not in f"{answer.fields} {answer.body!r} {line}"
    (defect,) = told
    assert f"(id {line['id']})" in defect["message"]
    assert str(defect["exception"]) == SECRET


class BrokenHash(PasswordHash):
    """A hash whose check is a defect."""

    __slots__ = ()

    def is_of(self, password: bytes) -> bool:
        """Fail, and say too much."""
        raise RuntimeError(f"{SECRET}: {password!r}")


@pytest.mark.attack(
    "a defect of the proxy: the request fails closed, and no exception text leaves",
    expect="internal_error",
    topic="faults",
    motive="CVE-2024-2379",
)
@pytest.mark.parametrize("head", [get_head(f"http://{HOST}/"), connect_head()], ids=["request", "CONNECT"])
async def test_a_defect_while_credentials_are_checked_lets_nobody_in(head: bytes) -> None:
    """Whoever has a right password meanwhile is not let in either, and the client reads our words alone."""
    told = collect_defects()
    async with running_proxy(RULE) as proxy:
        proxy.server.ask_clients({"alice": BrokenHash(4, 1, 1, bytes(16), bytes(32))})

        def talk() -> Answer:
            with connect(proxy) as sock:
                sock.sendall(head.removesuffix(b"\r\n") + basic("alice", "her password").encode() + b"\r\n")
                return read_answer(sock)

        answer = await asyncio.to_thread(talk)
        line = await proxy.connection()
        assert proxy.resolved == []
    assert (answer.status, answer.code, line["code"]) == (500, "internal_error", "internal_error")
    assert SECRET not in f"{answer.fields} {answer.body!r} {line}"
    assert len(told) == 1


@pytest.mark.attack(
    "a defect of the proxy: the request fails closed, and no exception text leaves",
    expect="internal_error",
    topic="faults",
    motive="CVE-2024-2379",
)
async def test_a_socks5_client_is_answered_in_its_protocol() -> None:
    """One byte: general SOCKS server failure (RFC 1928 §6)."""
    told = collect_defects()
    async with running_proxy(RULE, addresses=BrokenNames()) as proxy:

        def talk() -> bytes:
            with greet(proxy) as sock:
                sock.sendall(socks_request())
                return read_exactly(sock, 2)

        assert await asyncio.to_thread(talk) == b"\x05\x01"
        assert (await proxy.connection())["code"] == "internal_error"
    assert len(told) == 1


@pytest.mark.attack("the text of an exception, asked out of a refusal", expect="neutralise", topic="secrets", motive="CWE-209")
@each_way
async def test_no_refusal_repeats_a_word_of_what_caused_it(way: Way) -> None:
    """Every class there is, raised from a foreign error, and foreign errors of every kind: the client reads our words alone."""
    collect_defects()
    names = FailingNames()
    ours = [kind("the way is closed") for kind in refusal_codes().values() if kind is not ClientClosed]
    async with running_proxy(RULE, addresses=names) as proxy:
        for count, failure in enumerate([*ours, *foreign_errors()], 1):
            names.failure = failure
            answer = await ask(way, proxy)
            line = await proxy.connection(count=count)
            assert (answer.code, answer.problem["code"]) == (line["code"], line["code"])
            assert answer.code == failure.code if isinstance(failure, Refused) else answer.status >= 500
            assert SECRET not in f"{answer.fields} {answer.body!r} {line}"
