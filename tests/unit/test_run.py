"""The queue of tests: its order, what is kept of it, and what a failed check shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import run
from tests.durations import longest_first, merged, queue_of, read_durations


def test_unknown_files_start_first_and_then_the_longest() -> None:
    seconds = {"short": 1.0, "long": 90.0, "as long": 90.0, "gone": 500.0}
    files = ["short", "new b", "long", "as long", "new a"]
    assert longest_first(files, seconds) == ["new a", "new b", "as long", "long", "short"]


def test_measured_files_take_the_place_of_known_ones_and_files_that_are_gone_leave() -> None:
    known, new = {"b": 9.0, "a": 1.0, "gone": 4.0}, {"b": 2.345, "c": 3.0}
    assert list(merged(known, new, ["a", "b", "c", "d"]).items()) == [("a", 1.0), ("b", 2.3), ("c", 3.0)]


@pytest.mark.parametrize(
    ("arguments", "marks", "is_measured"),
    [
        ((), "not slow and not long", True),
        (("--refresh",), "not slow and not long", True),
        (("--slow", "--refresh"), "slow and not long", True),
        (("tests/unit", "--slow"), "not long", False),
    ],
)
def test_only_a_run_of_all_quick_or_all_slow_tests_is_held_to_a_floor_of_coverage(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], marks: str, is_measured: bool
) -> None:
    monkeypatch.setattr(run, "LINES_OF_QUICK", Path(__file__))
    command = run.tests_command(arguments)
    assert command[command.index(marks) - 1] == "-m" and "--slow" not in command
    assert ("tests.covered" in command) == is_measured == bool(run.coverage_commands(arguments))


def test_slow_tests_add_their_coverage_to_that_of_the_quick_ones_and_run_in_a_queue_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "LINES_OF_QUICK", Path(__file__).with_name("not there"))
    assert run.coverage_commands(["--slow"]) == [] and "`make test` comes first" in capsys.readouterr().out
    monkeypatch.setattr(run, "LINES_OF_QUICK", Path(__file__))
    assert "--append" in run.coverage_commands(["--slow"])[0] and "--append" not in run.coverage_commands([])[0]
    # The floor of all tests is that of pyproject.toml.
    assert run.coverage_commands(["--slow"])[1][2:] == [] and run.coverage_commands([])[1][2:] != []
    assert [queue_of(marks) for marks in ("slow and not long", "not slow and not long", "")] == [
        "slow",
        "quick",
        "quick",
    ]
    assert set(read_durations()) == {"quick", "slow"}


def test_a_failed_check_is_shown_whole_and_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def python(code: str) -> list[str]:
        return [sys.executable, "-S", "-c", code]

    monkeypatch.setattr(
        run, "CHECKS", (python("print('all ' + 'fine')"), python("print('line one\\nline two'); raise SystemExit(3)"))
    )
    monkeypatch.setattr(run, "tests_command", lambda arguments: python("pass"))
    monkeypatch.setattr(run, "coverage_commands", lambda arguments: [])
    assert run.main([]) == 1
    shown = capfd.readouterr().out
    assert "line one\nline two" in shown and "fine" not in shown.replace("print('all ' + 'fine')", "")
    assert "failed: " in shown.splitlines()[-1] and "tests" not in shown.splitlines()[-1].split("failed: ")[1]
    monkeypatch.setattr(run, "CHECKS", ())
    assert run.main([]) == 0
    monkeypatch.setattr(run, "CHECKS", (python("raise SystemExit(3)"),))
    assert run.main(["--slow"]) == 0
    monkeypatch.setattr(run, "CHECKS", ())
    monkeypatch.setattr(run, "tests_command", lambda arguments: python("raise SystemExit(1)"))
    assert run.main([]) == 1


def test_too_little_coverage_fails_a_run_of_all_tests_and_no_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "CHECKS", ())
    monkeypatch.setattr(run, "tests_command", lambda arguments: [sys.executable, "-S", "-c", "pass"])
    monkeypatch.setattr(run, "COVERAGE", "false")
    assert run.main([]) == 1
    assert "failed: coverage" in capfd.readouterr().out
    assert run.main(["tests/unit"]) == 0
