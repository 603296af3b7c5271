"""What the admin server brings into the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.command_line import environment
from tests.harness.pki import make_root


@pytest.mark.parametrize(("module", "count"), [("pinproxy.admin.server", 0), ("aiohttp", 2)], ids=["ours", "aiohttp as it is"])
def test_the_admin_server_holds_no_roots_and_leaves_the_environment_as_it_was(module: str, count: int, tmp_path: Path) -> None:
    """At import, aiohttp makes two contexts for its client; whoever loads the system's roots later must find them."""
    roots = tmp_path / "roots.pem"
    roots.write_bytes(make_root().pem)
    code = (
        f"import gc, os, ssl, {module}; "
        "contexts = [each for each in gc.get_objects() if isinstance(each, ssl.SSLContext)]; "
        "print(sum(context.cert_store_stats()['x509'] for context in contexts), os.environ['SSL_CERT_FILE'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(SSL_CERT_FILE=str(roots)), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(count), str(roots)]


def test_a_variable_that_was_not_there_is_not_there_afterwards() -> None:
    """To OpenSSL, an empty one is a file that does not exist."""
    code = (
        "import os; os.environ.pop('SSL_CERT_FILE', None); import pinproxy.admin.lean_aiohttp; "
        "print('SSL_CERT_FILE' in os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
