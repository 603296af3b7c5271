"""A path to listen on: whose it is, who may connect, and what is left behind."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from pinproxy.errors import SettingsError
from pinproxy.net.listener import Listener
from pinproxy.net.unix_socket import MAX_PATH_BYTES, UnixAddress, listen_on_path


def abandoned(path: Path) -> None:
    """Leave a socket behind, as a process that is killed does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_owner_and_group_may_connect_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    """0660: the group is how a service gets in, and nobody else does."""
    before = os.umask(umask)
    try:
        sock, _ = listen_on_path(UnixAddress(tmp_path / "s"), 1)
    finally:
        os.umask(before)
    with sock:
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660


def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    """A killed proxy starts again by itself."""
    abandoned(tmp_path / "s")
    sock, _ = listen_on_path(UnixAddress(tmp_path / "s"), 1)
    with sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))


@pytest.mark.parametrize("backlog", [5, 0], ids=["idle", "full"])
def test_a_socket_that_somebody_listens_on_is_left_alone(backlog: int, tmp_path: Path) -> None:
    """The twin; also where so many wait already that another one would have to."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(backlog)
        if not backlog:
            waiting.connect(str(path))
        with pytest.raises(OSError, match="another process listens there"):
            listen_on_path(UnixAddress(path), 1)
        assert path.is_socket()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A mistyped path must not cost a file; a link is not followed either."""
    (tmp_path / "file").write_text("precious", "utf-8")
    abandoned(tmp_path / "socket")
    (tmp_path / "link").symlink_to(tmp_path / "socket")
    for name in ("file", "link", "."):
        with pytest.raises(OSError, match="something else has that path"):
            listen_on_path(UnixAddress(tmp_path / name), 1)
    assert (tmp_path / "file").read_text("utf-8") == "precious"


async def test_the_path_is_gone_when_the_listener_is(tmp_path: Path) -> None:
    """So that the next one need not ask whether it is stale."""
    listener = Listener(UnixAddress(tmp_path / "s"), lambda sock, _name: sock.close())
    assert listener.bind() == UnixAddress(tmp_path / "s")
    assert (tmp_path / "s").is_socket()
    listener.start()
    listener.close()
    assert not (tmp_path / "s").exists()


def test_a_path_that_has_become_somebody_elses_stays(tmp_path: Path) -> None:
    """A successor may be there before the predecessor has ended."""
    sock, file = listen_on_path(UnixAddress(tmp_path / "s"), 1)
    with sock:
        (tmp_path / "s").rename(tmp_path / "away")
        successor, _ = listen_on_path(UnixAddress(tmp_path / "s"), 1)
        with successor:
            file.remove()
            assert (tmp_path / "s").is_socket()


@pytest.mark.parametrize(("name", "reason"), [("no/s", "No such file or directory"), (".", "something else has that path")])
def test_a_path_that_cannot_be_listened_on_is_a_problem_of_the_settings(name: str, reason: str, tmp_path: Path) -> None:
    """The text names the path as the configuration writes it, and the reason."""
    address = UnixAddress(tmp_path / name)
    with pytest.raises(SettingsError) as refused:
        Listener(address, lambda sock, _name: sock.close()).bind()
    assert str(refused.value) == f"listen: cannot listen on {address}: {reason}" + (
        "; move it, or listen elsewhere" if name == "." else ""
    )


def test_the_longest_path_is_the_kernels(tmp_path: Path) -> None:
    """unix(7); one byte more is refused by the settings, and by the kernel."""
    longest = tmp_path / ("x" * (MAX_PATH_BYTES - len(os.fsencode(tmp_path)) - 1))
    sock, _ = listen_on_path(UnixAddress(longest), 1)
    sock.close()
    with pytest.raises(OSError, match="path too long"):
        listen_on_path(UnixAddress(longest.with_name(longest.name + "x")), 1)
