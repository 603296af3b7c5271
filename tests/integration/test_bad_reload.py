"""A configuration that must not come into force, at a reload: what was in force stays so, and everybody who looks is told."""

from __future__ import annotations

import asyncio
import socket
from collections import UserDict
from collections.abc import Callable, ItemsView
from pathlib import Path, PosixPath

import pytest

from tests.harness.clients import connect_head, get_head, read_answer
from tests.harness.command_line import BACKUP
from tests.harness.configured import configured_proxy
from tests.harness.origin import running_origin
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST

WRONG = "wrong.example.test"
ROOT = make_root()
LEAF, OTHER = make_leaf(ROOT, HOST, WRONG), make_leaf(ROOT, HOST)


def hosts(port: int, ca_file: str = "root.pem", pins: str = f"{LEAF.pin}, {BACKUP}") -> str:
    """List a host whose pins are right, and one whose are not."""
    return "hosts:\n" + "".join(
        f"  - {{host: {host}, trust: {{ca_file: {ca_file}}}, upstream: {{address: 127.0.0.1, port: {port}}}, pins: [{pinned}]}}\n"
        for host, pinned in ((HOST, pins), (WRONG, f"{OTHER.pin}, {BACKUP}"))
    )


@pytest.mark.attack(
    "a reload with a configuration that is broken, cut short, gone, or would pin nothing",
    expect="keep",
    topic="control",
    motive="a gateway in which an empty list of pins allowed everything",
)
async def test_a_bad_configuration_changes_nothing_and_is_told(tmp_path: Path) -> None:
    """Right pins are served as before, wrong ones denied, and a connection that was open goes on; a good file ends the alarm."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    async with running_origin(server_context(LEAF)) as origin:
        good = hosts(origin.port)
        async with configured_proxy(tmp_path, good) as proxy:
            whole = proxy.file.read_text("utf-8")
            bad = {
                "no YAML": whole + "hosts: [\n",
                "cut inside a pin": whole[: whole.index(BACKUP) + 20],
                "cut behind the hosts": whole[: whole.index("hosts:") + len("hosts:\n")],
                "empty": "",
                "no pins": whole.replace(good, hosts(origin.port, pins="")),
                "one pin": whole.replace(good, hosts(origin.port, pins=str(LEAF.pin))),
                "no such CA file": whole.replace(good, hosts(origin.port, ca_file="nowhere.pem")),
                "a word misspelt": whole.replace("hosts:", "unlistd: allow\nhosts:"),
            }

            def ask(client: socket.socket, host: str) -> str | None:
                client.sendall(get_head(f"http://{host}/", host))
                return read_answer(client).code

            def denied() -> str | None:
                with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
                    client.sendall(connect_head(WRONG))
                    return read_answer(client).code

            with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
                for what, text in bad.items():
                    proxy.file.write_text(text, "utf-8")
                    await proxy.app.reload()
                    assert proxy.app._book.problems, what
                    assert await asyncio.to_thread(ask, client, HOST) is None
                    assert await asyncio.to_thread(denied) == "pin_mismatch"
                proxy.file.unlink()
                await proxy.app.reload()
                assert proxy.app._book.problems
                assert await asyncio.to_thread(ask, client, HOST) is None
                proxy.file.write_text(whole, "utf-8")
                await proxy.app.reload()
                assert not proxy.app._book.problems


class Environment(UserDict[str, str]):
    """Variables that cannot be read any more, in a way that nobody has thought of."""

    is_broken = False

    def items(self) -> ItemsView[str, str]:
        """Fail, if told to."""
        if self.is_broken:
            raise RuntimeError("no such thing")
        return super().items()


async def test_a_defect_in_a_reload_is_told_like_a_bad_configuration(tmp_path: Path) -> None:
    """Whoever looks is told that what is in force is old; it stays so until a reload ends well."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    environment = Environment(HOME="/")
    async with configured_proxy(tmp_path, hosts(1), environment) as proxy:
        before = proxy.app._in_force
        environment.is_broken = True
        await proxy.app._reload_changed()
        (problem,) = proxy.app._book.problems
        assert (problem.file, "a defect of pinproxy ended the reload (RuntimeError)" in problem.message) == (
            str(proxy.file),
            True,
        )
        assert (proxy.app._book.failed_at is not None, proxy.app._in_force is before) == (True, True)
        environment.is_broken = False
        await proxy.app._reload_changed()
        assert proxy.app._book.failed_at is None


class Unreadable(PosixPath):
    """A path at which something goes wrong that is no error of the operating system."""

    def __fspath__(self) -> str:
        """Fail."""
        raise RuntimeError("no such thing")


async def test_a_defect_in_the_look_for_changes_is_not_the_last_look(tmp_path: Path) -> None:
    """It is told like one in a reload, and the next change is taken up."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)

    async def until(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():  # noqa: ASYNC110 - nobody inside the program tells of it
                await asyncio.sleep(0.01)

    async with configured_proxy(tmp_path, f"reload: {{poll: 10ms}}\n{hosts(1)}") as proxy:
        watch = proxy.app._watch
        assert watch is not None
        watch._path = Unreadable(proxy.file)
        await until(lambda: proxy.app._book.failed_at is not None)
        watch._path = proxy.file
        proxy.file.write_text(proxy.file.read_text("utf-8") + "unlisted: allow\n", "utf-8")
        await until(lambda: proxy.app._book.failed_at is None)
        assert proxy.app._in_force.settings.unlisted == "allow"
