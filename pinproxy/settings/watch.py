"""Notices when the configuration, or a file it names, has other content than before.

By content and by polling: a ConfigMap changes by a symlink two directories up, an editor by a rename, NFS without telling
anybody, and inotify on the file sees none of them. Reading a few small files every two seconds costs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from pinproxy.errors import SettingsError
from pinproxy.net.named_file import open_named_file
from pinproxy.settings.document import parse_document

_MAX_BYTES = 16 * 1024 * 1024  # what is larger is no configuration, and must not fill the memory
_FILE_KEYS = "_file"

Fingerprint = dict[Path, bytes | None]


class ConfigWatch:
    """Calls back when the content of the configuration has changed and has been the same for two polls.

    The second poll is there for writers that are not atomic: half a file is not loaded, its whole is, one poll later.
    """

    def __init__(self, path: Path, changed: Callable[[], Awaitable[None]]) -> None:
        """Remember what the files hold now: make the watch before the configuration is loaded, and no change is lost.

        Args:
            path: The YAML file.
            changed: Called after each change; what it raises ends the watch.
        """
        self._path = path
        self._changed = changed
        self._named: tuple[Path, ...] = ()
        self._digest_of_named: bytes | None = None
        self._known = self._look()
        self._candidate = self._known

    async def run(self, interval: Callable[[], float]) -> None:
        """Poll until cancelled.

        Args:
            interval: Gives the seconds until the next poll; asked each time, since a reload may change it.
        """
        while True:
            await asyncio.sleep(interval())
            await self.poll()

    async def poll(self) -> bool:
        """Look once; tell whether the callback was called."""
        # In a thread: a network file system may take its time, and connections must not wait for it.
        found = await asyncio.to_thread(self._look)
        is_stable = found == self._candidate
        self._candidate = found
        if found == self._known or not is_stable:
            return False
        self._known = found
        await self._changed()
        return True

    def _look(self) -> Fingerprint:
        """Hash the YAML file and every file it names; None for one that cannot be read, a state like any other."""
        content = _content(self._path)
        digest = _digest(content)
        if content is not None and digest != self._digest_of_named:
            # Parsing is a hundred times what reading costs, so it is done once for each content.
            self._named, self._digest_of_named = tuple(_named_files(content, self._path)), digest
        return {file: _digest(_content(file)) for file in self._named} | {self._path: digest}


def _named_files(content: bytes, path: Path) -> Iterator[Path]:
    """Find the values of all keys that end in `_file`, also in a document that the model would refuse."""
    try:
        document = parse_document(content, str(path))
    except SettingsError:
        return
    pending = [document.root]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key.endswith(_FILE_KEYS) and isinstance(inner, str) and inner and "\0" not in inner:
                    yield path.absolute().parent / inner
                pending.append(inner)


def _content(path: Path) -> bytes | None:
    try:
        with open_named_file(path) as file:
            return file.read(_MAX_BYTES)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None


def _digest(content: bytes | None) -> bytes | None:
    return None if content is None else hashlib.sha256(content).digest()
