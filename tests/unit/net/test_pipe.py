from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator

import pytest

from pinproxy.net.pipe import BEST_KIND, PUT_BYTES, BufferPipe, KernelPipe, Pipe, PipePool
from tests.harness.tunnelling import open_descriptors

needs_splice = pytest.mark.skipif(not hasattr(os, "splice"), reason="the kernel has no splice(2)")
each_kind = pytest.mark.parametrize("kind", [pytest.param(KernelPipe, marks=needs_splice), BufferPipe])


Pairs = tuple[socket.socket, socket.socket, socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """A source and a target, non-blocking, each with its peer: writer, source, target, reader."""
    made: list[socket.socket] = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname(), timeout=10)
            near, _ = listener.accept()
            near.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
            made += [far, near]
    yield made[0], made[1], made[3], made[2]
    for sock in made:
        sock.close()


@each_kind
def test_what_goes_in_comes_out(kind: type[Pipe], pairs: Pairs) -> None:
    """Byte for byte, as often as needed."""
    writer, source, target, reader = pairs
    pipe = kind()
    for data in (b"a", b"b" * 100_000, b"c" * 5):
        writer.sendall(data)
        got = b""
        while len(got) < len(data):
            pipe.fill(source)
            assert pipe.held_bytes > 0
            pipe.drain(target)
            assert pipe.held_bytes == 0
            got += reader.recv(2**20)
        assert got == data
    pipe.close()


@each_kind
def test_a_dry_source_blocks_and_an_ended_one_gives_nothing(kind: type[Pipe], pairs: Pairs) -> None:
    """The two must never be mistaken for each other."""
    writer, source, _, _ = pairs
    pipe = kind()
    with pytest.raises(BlockingIOError):
        pipe.fill(source)
    writer.shutdown(socket.SHUT_WR)
    assert pipe.fill(source) == 0
    assert pipe.held_bytes == 0
    pipe.close()


@each_kind
def test_a_full_target_blocks_and_what_is_held_is_not_lost(kind: type[Pipe], pairs: Pairs) -> None:
    """A slow reader gets it all, later."""
    writer, source, target, reader = pairs
    pipe, sent, got = kind(), hashlib.sha256(), hashlib.sha256()
    data = os.urandom(50_000)

    def pour() -> None:
        while True:
            writer.sendall(data)
            sent.update(data)
            moved = 0
            while moved < len(data):
                moved += pipe.fill(source)
                pipe.drain(target)

    with pytest.raises(BlockingIOError):
        pour()
    assert pipe.held_bytes > 0
    writer.shutdown(socket.SHUT_WR)
    while True:
        got.update(reader.recv(2**20))
        try:
            pipe.drain(target)
            if pipe.fill(source) == 0:
                break
        except BlockingIOError:
            continue
    target.shutdown(socket.SHUT_WR)
    while rest := reader.recv(2**20):
        got.update(rest)
    assert got.digest() == sent.digest()
    pipe.close()


@each_kind
def test_a_put_of_the_greatest_size_fits_even_where_pipes_are_small(kind: type[Pipe], pairs: Pairs) -> None:
    """Above its share of pages a user's pipes hold one or two, and a write that does not fit would lose its tail."""
    _, _, target, reader = pairs
    pipe = kind()
    if isinstance(pipe, KernelPipe):
        assert fcntl.fcntl(pipe._writer, fcntl.F_SETPIPE_SZ, 4096) == 4096
    data = os.urandom(PUT_BYTES)
    pipe.put(data)
    assert pipe.held_bytes == len(data)
    pipe.drain(target)
    assert reader.recv(2**20) == data
    pipe.close()


def test_the_best_kind_is_the_kernels_where_it_has_one() -> None:
    """Linux since Python 3.10."""
    assert BEST_KIND is (KernelPipe if hasattr(os, "splice") else BufferPipe)


@needs_splice
def test_an_empty_pipe_is_lent_again_and_one_that_holds_bytes_never() -> None:
    """What one tunnel left behind must not come out of another."""
    pool = PipePool(KernelPipe)
    first = pool.borrow()
    pool.give_back(first)
    assert pool.borrow() is first
    first.put(b"secret")
    pool.give_back(first)
    with pytest.raises(OSError, match="Bad file descriptor"):
        first.put(b"x")
    second = pool.borrow()
    assert second is not first
    pool.give_back(second)
    pool.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        second.put(b"x")


@needs_splice
def test_a_pool_keeps_only_so_many_pipes() -> None:
    """A burst leaves no descriptors behind."""
    before = open_descriptors()
    pool = PipePool(KernelPipe)
    for pipe in [pool.borrow() for _ in range(100)]:
        pool.give_back(pipe)
    assert open_descriptors() - before == 32
    pool.close()
    assert open_descriptors() == before


def test_without_a_descriptor_left_bytes_are_copied_instead() -> None:
    """Whoever is connected goes on; and the copying one does not stay in the pool."""
    is_exhausted = True

    def make() -> Pipe:
        if is_exhausted:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return BEST_KIND()

    pool = PipePool(make)
    emergency = pool.borrow()
    assert isinstance(emergency, BufferPipe)
    pool.give_back(emergency)
    is_exhausted = False
    better = pool.borrow()
    assert isinstance(better, BEST_KIND)
    pool.give_back(better)
    pool.close()
