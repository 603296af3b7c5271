"""Where settings come from, and what a proxy of one program leaves out of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinproxy.policy.password_hash import hash_password
from pinproxy.settings.source import SettingsSource

ROUTED = """\
version: 1
hosts: [{host: api.example.test, mode: disabled}]
routes: [{listen: 127.0.0.1:9001, to: api.example.test:443, protocol: http}]
"""


@pytest.mark.parametrize(("is_for_one_client", "routes"), [(True, 0), (False, 1)], ids=["exec", "run"])
def test_a_proxy_of_one_program_opens_no_routes(is_for_one_client: bool, routes: int, tmp_path: Path) -> None:
    """Their ports are those of the proxy that runs beside it, by the same configuration."""
    path = tmp_path / "pinproxy.yaml"
    path.write_text(ROUTED, "utf-8")
    assert len(SettingsSource(path, {}, {}, is_for_one_client=is_for_one_client).load().routes) == routes


@pytest.mark.parametrize("is_for_one_client", [False, True])
def test_a_proxy_of_one_program_asks_nobody(is_for_one_client: bool, tmp_path: Path) -> None:
    """`pinproxy exec` tells its port to its child alone, in variables that hold no password."""
    path = tmp_path / "pinproxy.yaml"
    users = f"{{alice: '{hash_password(b'x', bytes(16))}'}}"
    path.write_text(
        f"version: 1\nclient_auth: {{basic: {{users: {users}}}}}\nhosts: [{{host: api.example.test, mode: disabled}}]\n"
    )
    settings = SettingsSource(path, {}, {}, is_for_one_client=is_for_one_client).load()
    assert (not settings.client_auth.users) is is_for_one_client
