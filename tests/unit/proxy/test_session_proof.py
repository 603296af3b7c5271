from __future__ import annotations

import pytest

from pinproxy.proxy.session_proof import Edge, RecordEdges, SessionProof

CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23


def record(kind: int, size: int = 40) -> bytes:
    """A record of so many bytes of content."""
    return bytes([kind, 3, 3]) + size.to_bytes(2, "big") + bytes(size)


FLIGHT = record(HANDSHAKE, 900)
TICKET_AND_FINISHED = record(HANDSHAKE, 200) + record(CCS, 1) + record(HANDSHAKE)
ANSWER = record(HANDSHAKE, 70) + record(CCS, 1) + record(HANDSHAKE)


class Watched:
    """A proof, and whether it came."""

    def __init__(self) -> None:
        self.count = 0
        self.proof = SessionProof(self._prove)

    def _prove(self) -> None:
        self.count += 1

    def play(self, *turns: tuple[str, bytes], size: int = 10_000) -> int:
        """Let both ends talk, in pieces; returns how often it was proved."""
        for who, data in turns:
            see = self.proof.see_down if who == "server" else self.proof.see_up
            for at in range(0, len(data), size):
                see(data[at : at + size])
        return self.count


each_size = pytest.mark.parametrize("size", [1, 3, 5, 41, 10_000])


@each_size
def test_records_are_followed_over_any_segmentation(size: int) -> None:
    """Each begins once and ends once, an empty one too."""
    stream = record(HANDSHAKE, 7) + record(CCS, 0) + record(DATA, 300)
    edges = RecordEdges()
    found = [edge for at in range(0, len(stream), size) for edge in edges.feed(stream[at : at + size])]
    assert found == [(edge, kind) for kind in (HANDSHAKE, CCS, DATA) for edge in (Edge.BEGINS, Edge.ENDS)]


@each_size
def test_a_client_that_goes_on_behind_the_servers_finished_has_accepted(size: int) -> None:
    """RFC 5246 §7.3, figure 1: application data follows the Finished of both."""
    turns = [("server", FLIGHT), ("client", ANSWER), ("server", TICKET_AND_FINISHED), ("client", record(DATA))]
    for count, expected in enumerate((0, 0, 0, 1), start=1):
        assert Watched().play(*turns[:count], size=size) == expected


@each_size
def test_a_client_that_resumed_a_session_and_goes_on_has_accepted(size: int) -> None:
    """Figure 2: here the server's Finished comes first."""
    hello = record(HANDSHAKE, 90)
    turns = [("server", hello + TICKET_AND_FINISHED), ("client", record(CCS, 1) + record(HANDSHAKE)), ("client", record(DATA))]
    for count, expected in enumerate((0, 0, 1), start=1):
        assert Watched().play(*turns[:count], size=size) == expected


@each_size
def test_an_alert_is_no_going_on_and_nothing_behind_it_is(size: int) -> None:
    """What a client says that was lied to."""
    watched = Watched()
    turns = [
        ("server", FLIGHT),
        ("client", ANSWER),
        ("server", TICKET_AND_FINISHED),
        ("client", record(ALERT, 26) + record(DATA)),
    ]
    assert watched.play(*turns, size=size) == 0
    assert watched.proof.is_settled


@each_size
def test_data_that_began_before_the_servers_finished_proves_nothing(size: int) -> None:
    """A false start (RFC 7918): the client has not seen yet what it would have to accept. What begins after it counts."""
    early = record(DATA, 300)
    half = len(early) // 2
    watched = Watched()
    turns = [("server", FLIGHT), ("client", ANSWER + early[:half]), ("server", TICKET_AND_FINISHED), ("client", early[half:])]
    assert watched.play(*turns, size=size) == 0
    assert watched.play(("client", record(DATA)), size=size) == 1


@each_size
def test_a_finished_that_was_not_given_whole_proves_nothing(size: int) -> None:
    """An attacker may hold its last byte back and wait for a client of early data to talk."""
    watched = Watched()
    turns = [("server", FLIGHT), ("client", ANSWER), ("server", TICKET_AND_FINISHED[:-1]), ("client", record(DATA))]
    assert watched.play(*turns, size=size) == 0
    assert not watched.proof.has_server_finished
    assert watched.play(("server", TICKET_AND_FINISHED[-1:]), ("client", record(DATA)), size=size) == 1


def test_it_is_proved_once() -> None:
    """However much follows."""
    turns = [("server", FLIGHT), ("client", ANSWER), ("server", TICKET_AND_FINISHED), ("client", record(DATA) * 5)]
    assert Watched().play(*turns) == 1
