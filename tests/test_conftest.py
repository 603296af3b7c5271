"""The rules of conftest.py, tried on small suites of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parent.parent

RunSuite = Callable[..., pytest.RunResult]


@pytest.fixture
def run_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunSuite:
    """Run a suite of one file under our conftest and our configuration, as a process of its own."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PINPROXY_CI", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def run(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        configuration = REPOSITORY / "pyproject.toml"
        return pytester.runpytest_subprocess(
            "-c", configuration, f"--rootdir={pytester.path}", "-p", "tests.conftest", "-v", *options, pytester.path
        )

    return run


def test_an_async_test_runs_on_both_loops(run_suite: RunSuite) -> None:
    """What passes on one loop only does not pass."""
    result = run_suite("""
        import asyncio
        import uvloop

        async def test_loop(request):
            is_uvloop = isinstance(asyncio.get_running_loop(), uvloop.Loop)
            assert is_uvloop == request.node.name.endswith("[uvloop]")
    """)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(["*test_loop[[]uvloop] PASSED*", "*test_loop[[]asyncio] PASSED*"])


def test_a_second_run_may_be_content_with_uvloop(run_suite: RunSuite) -> None:
    """On another Python, the loop that users get is enough."""
    result = run_suite("async def test_loop(): pass", "--uvloop-only")
    result.assert_outcomes(passed=1)


def test_a_task_whose_failure_nobody_reads_fails_the_test(run_suite: RunSuite) -> None:
    """A test that asserts nothing about a failed task has not noticed it."""
    result = run_suite("""
        import asyncio

        async def fail():
            raise RuntimeError("nobody reads this")

        async def test_forgets():
            asyncio.create_task(fail())
            await asyncio.sleep(0)
    """)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*Task exception was never retrieved*"])


def test_a_task_whose_failure_is_read_passes(run_suite: RunSuite) -> None:
    """The twin: the same task, awaited."""
    result = run_suite("""
        import asyncio
        import pytest

        async def fail():
            raise RuntimeError("somebody reads this")

        async def test_reads():
            with pytest.raises(RuntimeError):
                await asyncio.create_task(fail())
    """)
    result.assert_outcomes(passed=2)


def test_a_coroutine_never_awaited_fails_the_test(run_suite: RunSuite) -> None:
    """A forgotten `await` is work not done."""
    result = run_suite("""
        async def work():
            pass

        async def test_forgets():
            work()
    """)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*coroutine 'work' was never awaited*"])


NEEDS_A_TOOL = """
    import pytest

    @pytest.mark.needs_tool("sh", "no-such-program")
    def test_tool():
        pass
"""


def test_a_missing_tool_skips_the_test_by_name(run_suite: RunSuite) -> None:
    """At a desk a missing program is no reason to fail."""
    result = run_suite(NEEDS_A_TOOL)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs no-such-program, which this machine does not have*"])


@pytest.mark.parametrize("variable", ["CI", "PINPROXY_CI"])
def test_a_missing_tool_fails_the_test_under_ci(
    run_suite: RunSuite,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """Where nobody watches, a skip would be a hole in the suite."""
    monkeypatch.setenv(variable, "true")
    result = run_suite(NEEDS_A_TOOL)
    result.assert_outcomes(errors=1)


def test_a_tool_that_is_there_lets_the_test_run(run_suite: RunSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: the same marker with programs that exist, under CI."""
    monkeypatch.setenv("CI", "true")
    result = run_suite(NEEDS_A_TOOL.replace(', "no-such-program"', ""))
    result.assert_outcomes(passed=1)


ATTACK = """
    import pytest

    @pytest.mark.attack("lies", expect="pin_mismatch", topic="pins")
    def test_attack():
        pass
"""


def test_an_attack_with_a_reason_that_does_not_exist_fails_the_collection(run_suite: RunSuite) -> None:
    """docs/security.md would promise what nobody can see."""
    result = run_suite(ATTACK.replace("pin_mismatch", "pin_missmatch"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*::test_attack: expect='pin_missmatch': got no reason code*"])


def test_an_attack_that_is_said_of_a_whole_file_fails_the_collection(run_suite: RunSuite) -> None:
    """The page names tests, and would name none of these."""
    result = run_suite(ATTACK.replace("@pytest", "pytestmark = pytest"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the mark `attack` stands on a test*"])


def test_an_attack_with_a_reason_that_exists_is_run(run_suite: RunSuite) -> None:
    """The twin."""
    run_suite(ATTACK).assert_outcomes(passed=1)
