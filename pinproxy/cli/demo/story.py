"""What the demo shows, what is promised, and whether it was kept. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Decision = Literal["allow", "deny", "allow_and_report"]
Server = Literal["real", "impostor"]


@dataclass(frozen=True, slots=True)
class Way:
    """A way of carrying traffic, a column of the table.

    Attributes:
        name: As the log has it in `mode`.
        scheme: Of the URL that makes a client go this way.
        says: What it means for the client.
        domain: Under which its hosts are listed; ways of one domain share their hosts.
        options: What the configuration says of its hosts besides, as `key: value`.
        is_end_to_end: Whether the client's TLS ends at the server, whose certificate it then sees, and not the proxy's.
    """

    name: str
    scheme: Literal["http", "https"]
    says: str
    domain: str = "example.test"
    options: tuple[str, ...] = ()
    is_end_to_end: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """A host of the configuration, and what is promised of it: a row of the table.

    Attributes:
        name: Of the host, without its domain.
        server: Who answers at its address.
        mode: The host's mode in the configuration.
        title: What is so.
        promise: What must follow, in words.
        status: Status that the client gets.
        decision: Of the proxy.
        code: Reason code; None: nothing is wrong.
        is_request_let_through: Whether the server may receive the request; if not, not a byte of it.
    """

    name: str
    server: Server
    mode: Literal["enforce", "report-only"]
    title: str
    promise: str
    status: int
    decision: Decision
    code: str | None
    is_request_let_through: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened.

    Attributes:
        status: Status that the client got; 0: none.
        decision: As logged.
        code: As logged.
        bytes_reached: Bytes of the request that the server received.
    """

    status: int
    decision: str | None
    code: str | None
    bytes_reached: int

    def __str__(self) -> str:
        """Format for a cell of the table."""
        return f"{self.status} {self.decision}, {self.bytes_reached} bytes"


WAYS = (
    Way("origination", "http", "plain http:// in, pinned TLS out"),
    Way("interception", "https", "https:// through CONNECT, TLS ended by the proxy and begun anew"),
    Way(
        name="tunnel",
        scheme="https",
        says="https:// through CONNECT, the client's own TLS untouched; TLS 1.3 hides certificates, hence only `advisory`",
        domain="tunnel.example.test",
        options=("connect: tunnel", "tls13: preflight"),
        is_end_to_end=True,
    ),
)

SCENES = (
    Scene(
        name="api",
        server="real",
        mode="enforce",
        title="The real server, whose key is pinned",
        promise="the real server answers",
        status=200,
        decision="allow",
        code=None,
        is_request_let_through=True,
    ),
    Scene(
        name="hijacked",
        server="impostor",
        mode="enforce",
        title="An impostor: valid certificate, from the CA that everybody trusts, another key",
        promise="an impostor is denied, 0 bytes reach it",
        status=403,
        decision="deny",
        code="pin_mismatch",
        is_request_let_through=False,
    ),
    Scene(
        name="watched",
        server="impostor",
        mode="report-only",
        title="The same impostor, at a host that is report-only",
        promise="in report-only it passes and is reported",
        status=200,
        decision="allow_and_report",
        code="pin_mismatch",
        is_request_let_through=True,
    ),
)


def host_of(scene: Scene, way: Way) -> str:
    """Name the host that a scene asks for, one way."""
    return f"{scene.name}.{way.domain}"


def is_kept(scene: Scene, outcome: Outcome) -> bool:
    """Tell whether the outcome is what was promised, in every part."""
    return (
        outcome.status == scene.status
        and outcome.decision == scene.decision
        and outcome.code == scene.code
        and (outcome.bytes_reached > 0) == scene.is_request_let_through
    )


def is_all_kept(outcomes: dict[tuple[str, str], Outcome]) -> bool:
    """Tell whether every scene was shown every way, and every promise kept.

    Args:
        outcomes: By the names of scene and way.
    """
    plays = [(scene, outcomes.get((scene.name, way.name))) for scene in SCENES for way in WAYS]
    return all(outcome is not None and is_kept(scene, outcome) for scene, outcome in plays)
