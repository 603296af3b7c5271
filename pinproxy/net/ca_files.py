"""The two files of a stored local CA: `ca.pem` for everybody, `ca.key` for nobody else.

Whoever holds `ca.key` can impersonate every host to every client that trusts `ca.pem` (the Superfish class), so:
- the key is made with O_EXCL and O_NOFOLLOW, mode 0600, and an existing file is never written to;
- a key that others may read, that is a symbolic link or belongs to somebody else is refused at start, not repaired: it may
  have been read already. A key of root's is accepted: root can read this process's memory anyway;
- a directory under version control is refused: what is made there ends up in a commit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from pinproxy.errors import SettingsError

CERTIFICATE_NAME = "ca.pem"
KEY_NAME = "ca.key"
_MAX_FILE_BYTES = 64 * 1024  # a key is 250 bytes, a certificate 600


def load_or_create_files(directory: Path, make: Callable[[], tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Read the CA of a directory; make it where neither file exists.

    Args:
        directory: Where the files live; made (mode 0700) if its parent exists.
        make: Called for a new CA; returns certificate and key as PEM.

    Returns:
        Certificate and key as PEM.

    Raises:
        SettingsError: One file without the other, a key that is not ours alone, or a directory that cannot be used.
    """
    _refuse_version_control(directory)
    certificate, key = directory / CERTIFICATE_NAME, directory / KEY_NAME
    has_certificate, has_key = os.path.lexists(certificate), os.path.lexists(key)
    if has_certificate != has_key:
        present, missing = (certificate, key) if has_certificate else (key, certificate)
        raise refused(missing, f"missing, while {present} exists; restore it, or remove {present.name} to start a new CA")
    try:
        if not has_key:
            return _create(directory, make)
        return _read(certificate), _read_private(key)
    except OSError as error:
        raise refused(Path(error.filename or directory), _reason(error)) from error


def refused(file: Path, message: str) -> SettingsError:
    """Build the error for one file of the CA."""
    return SettingsError.of(str(file), message, "local_ca.directory")


def _create(directory: Path, make: Callable[[], tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    directory.mkdir(mode=0o700, exist_ok=True)
    certificate_pem, key_pem = make()
    _write_new(directory / KEY_NAME, key_pem, 0o600)
    _write_new(directory / CERTIFICATE_NAME, certificate_pem, 0o644)
    return certificate_pem, key_pem


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet, not even as a dangling link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask is
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_FILE_BYTES)


def _read_private(path: Path) -> bytes:
    """Read a key through one descriptor, so that what was checked is what is read."""
    if path.is_symlink():
        raise refused(path, "a symbolic link; expected the key file itself, so that its place and mode are what they seem")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise refused(path, "not a regular file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise refused(
                path,
                f"mode {mode:04o}; expected 0600. Others may have read it: remove {KEY_NAME} and {CERTIFICATE_NAME} and trust "
                f"the new CA, or `chmod 600` it if nobody else has an account here",
            )
        if status.st_uid not in {os.geteuid(), 0}:
            raise refused(path, f"owned by uid {status.st_uid}; expected {os.geteuid()}, the user pinproxy runs as, or root")
        return file.read(_MAX_FILE_BYTES)


def _refuse_version_control(directory: Path) -> None:
    resolved = directory.resolve()
    for place in (resolved, *resolved.parents):
        if (place / ".git").exists():
            raise refused(directory, f"inside the repository {place}; choose a directory that is not committed")


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "appeared while it was being made; is another pinproxy starting with the same directory?"
    return f"{error.strerror}; expected a directory that the user pinproxy runs as (uid {os.geteuid()}) can use"
