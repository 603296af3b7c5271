"""What every test of a client takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.stage import CONNECT_MODES, ConnectMode
from tests.clients.table import Client


@pytest.fixture(params=list(CONNECT_MODES))
def connect_mode(request: pytest.FixtureRequest) -> ConnectMode:
    """Each way to carry CONNECT."""
    return CONNECT_MODES[request.param]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs built so far; each is built once for the whole run."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def client(request: pytest.FixtureRequest, programs: Path) -> Client:
    """A client of the table, built."""
    wanted: Client = request.param
    is_built = programs / f"{wanted.name}.built"
    if wanted.build is not None and not is_built.exists():
        environment = {**os.environ, "CGO_ENABLED": "0", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
        subprocess.run(wanted.build(programs), env=environment, check=True)
        is_built.touch()
    return wanted
