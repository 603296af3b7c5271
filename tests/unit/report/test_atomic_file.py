"""Files that are replaced whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pinproxy.report.atomic_file import replace_file


@pytest.mark.parametrize("owner", [None, (os.geteuid(), os.getegid())])
def test_the_new_content_has_the_permissions_that_were_asked_for(tmp_path: Path, owner: tuple[int, int] | None) -> None:
    """Whatever those of the old file were, and whatever the umask is."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o666)
    replace_file(file, b"new", 0o640, owner)
    status = file.stat()
    assert (file.read_bytes(), status.st_mode & 0o777) == (b"new", 0o640)
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_it_cannot_take_the_place_nothing_has_changed_and_nothing_is_left(tmp_path: Path) -> None:
    """Here a directory stands there."""
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "file", b"new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
