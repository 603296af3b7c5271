"""What logging brings into the process."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_logging_does_without_rich_where_it_is_installed() -> None:
    """It would cost every start a tenth of a second; whoever wants it later still gets it."""
    pytest.importorskip("rich")
    code = "import sys, pinproxy.report.log; print([name for name in sys.modules if name.startswith('rich')]); import rich"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
