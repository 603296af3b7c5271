"""What an operator reads for each way a configuration can be wrong.

Each `NAME.yaml` in tests/data/bad_configs has its whole expected text in `NAME.txt`: file, line, column, place in the
document, what was found, what was expected, and what to do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pinproxy.errors import SettingsError
from pinproxy.settings.load import load_settings

DIRECTORY = Path(__file__).parents[2] / "data/bad_configs"
NAMES = sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_configuration_is_refused_with_every_problem_and_its_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All problems come at once, and nothing starts."""
    monkeypatch.chdir(DIRECTORY)
    with pytest.raises(SettingsError) as refused:
        load_settings(Path(f"{name}.yaml"), {}, {})
    assert f"{refused.value}\n" == Path(f"{name}.txt").read_text(encoding="utf-8")


def test_every_wrong_configuration_has_its_text() -> None:
    """A text without its configuration would be checked by nobody."""
    assert sorted(path.stem for path in DIRECTORY.glob("*.txt")) == NAMES
    assert len(NAMES) >= 30
