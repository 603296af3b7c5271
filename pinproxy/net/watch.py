"""Who waits for which socket: one epoll for all of them, of which the event loop knows a single descriptor.

Why not the event loop's own `add_reader`, beside it for what changes hands often:
- uvloop makes a handle of libuv's for each descriptor, four system calls to begin and three to end (0.23), and 600 bytes while it
  lasts. A tunnel changes from waiting for a head to waiting for a connect to being carried; here each is one call.
- libuv tells of a reset once, together with the bytes before it, and then watches no more. Here it is told of until it is read.

It means what asyncio's own `add_reader` means: level-triggered; an error or a hang-up wakes readers and writers alike; nobody who
was removed is woken any more. A wake-up may be in vain, so whoever is woken tries, and waits again.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from pinproxy.net.loop_local import LoopLocal

_READABLE, _WRITABLE = select.EPOLLIN, select.EPOLLOUT
_EVENTS_PER_WAKE = 256  # then the rest of the loop has its turn; what is left comes again

Callback = Callable[[], None]


class Watch:
    """The descriptors that somebody waits for.

    Attributes:
        loop: The event loop it belongs to, which was running when it was made.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._before: Callback = _nothing
        self._behind: Callback = _nothing
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self._epoll.fileno(), self._dispatch)

    def add_reader(self, descriptor: int, callback: Callback) -> None:
        """Call back while there is something to read; instead of whoever was called so far."""
        self._add(descriptor, callback, self._readers, self._writers, select.EPOLLIN)

    def add_writer(self, descriptor: int, callback: Callback) -> None:
        """Call back while there is room to write; instead of whoever was called so far."""
        self._add(descriptor, callback, self._writers, self._readers, select.EPOLLOUT)

    def remove_reader(self, descriptor: int) -> None:
        """Call back no more; before the descriptor is closed. Unknown ones are fine."""
        self._remove(descriptor, self._readers, self._writers, select.EPOLLOUT)

    def remove_writer(self, descriptor: int) -> None:
        """Call back no more; before the descriptor is closed. Unknown ones are fine."""
        self._remove(descriptor, self._writers, self._readers, select.EPOLLIN)

    def frame_rounds(self, before: Callback, behind: Callback) -> None:
        """Call back before and behind each round, in which everybody whose socket is ready is called back.

        For what is cheaper done once for all of them; instead of whoever was called so far. Neither may raise.
        """
        self._before, self._behind = before, behind

    def _add(
        self, descriptor: int, callback: Callback, these: dict[int, Callback], others: dict[int, Callback], event: int
    ) -> None:
        if descriptor not in these:
            if descriptor in others:
                self._epoll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
            else:
                self._epoll.register(descriptor, event)
        these[descriptor] = callback

    def _remove(self, descriptor: int, these: dict[int, Callback], others: dict[int, Callback], other_event: int) -> None:
        if these.pop(descriptor, None) is None:
            return
        if descriptor in others:
            self._epoll.modify(descriptor, other_event)
        else:
            self._epoll.unregister(descriptor)

    def _dispatch(self) -> None:
        readers, writers = self._readers, self._writers
        due: list[tuple[dict[int, Callback], int, Callback]] = []
        for descriptor, events in self._epoll.poll(0, _EVENTS_PER_WAKE):
            if events != _WRITABLE and (reader := readers.get(descriptor)) is not None:
                due.append((readers, descriptor, reader))
            if events != _READABLE and (writer := writers.get(descriptor)) is not None:
                due.append((writers, descriptor, writer))
        self._before()
        try:
            _call_back(due)
        finally:
            self._behind()


def _call_back(due: list[tuple[dict[int, Callback], int, Callback]]) -> None:
    for waiting, descriptor, callback in due:
        # One that was called before may have removed it, or closed it, and somebody else has the number now.
        if waiting.get(descriptor) is not callback:
            continue
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - the boundary of each callback: one that fails must not keep the others waiting
            context = {"message": "a callback of a socket failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


def _nothing() -> None:
    """Frame no rounds."""


watch_of_loop: LoopLocal[Watch] = LoopLocal(Watch)
"""The running loop's one watch."""
