"""Temporary files: only folders that a run of the store made and marked are ever removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mmrec_lib.lakehouse.staging import ABANDONED_AFTER, MARKER, Staging, is_alive, process_identity


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that others use too."""
    folder = tmp_path / "shared"
    (folder / "theirs").mkdir(parents=True)
    (folder / "theirs" / "data").write_text("precious", encoding="utf-8")
    (folder / "thesis.tex").write_text("precious", encoding="utf-8")
    return folder


def made(root: Path, store: str, run: str) -> Path:
    """A run's folder with a file in it."""
    path = Path(Staging(str(root), store, run).path("rows"))
    path.write_text("x", encoding="utf-8")
    return path.parent


def die(folder: Path) -> None:
    """Let the run that made a folder have been killed."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    marker["process"]["pid"] = gone.pid
    (folder / MARKER).write_text(json.dumps(marker), encoding="utf-8")


def require_foreign(root: Path) -> None:
    assert (root / "theirs" / "data").read_text(encoding="utf-8") == "precious"
    assert (root / "thesis.tex").read_text(encoding="utf-8") == "precious"


def test_nothing_is_made_before_it_is_needed_and_a_run_removes_what_it_made(root: Path) -> None:
    staging = Staging(str(root), "a", "1")
    assert not (root / "mmrec-a").exists()
    staging.remove()
    path = Path(staging.path("rows"))
    assert path == root / "mmrec-a" / "run-1" / "rows"
    marker = json.loads((path.parent / MARKER).read_text(encoding="utf-8"))
    assert (marker["store"], marker["run"], marker["process"]["pid"]) == ("a", "1", os.getpid())
    staging.remove()
    assert not (root / "mmrec-a").exists()
    require_foreign(root)
    again = Path(staging.path("rows")).parent
    other = made(root, "a", "2")
    staging.remove()
    assert not again.exists() and other.exists()


def test_a_killed_run_of_the_store_is_removed_and_nothing_else(root: Path) -> None:
    dead, alive, other = made(root, "a", "1"), made(root, "a", "2"), made(root, "b", "1")
    die(dead)
    die(other)
    (root / "mmrec-a" / "notes.txt").touch()
    (root / "mmrec-a" / "run-mine").mkdir()
    (root / "mmrec-a" / "run-mine" / "data").touch()
    assert Staging(str(root), "a", "3").remove_stale(holds_lock=False) == ["run-1"]
    assert not dead.exists()
    assert alive.exists() and other.exists()
    assert (root / "mmrec-a" / "notes.txt").exists() and (root / "mmrec-a" / "run-mine" / "data").exists()
    require_foreign(root)


def test_a_run_killed_while_it_removes_leaves_a_folder_that_the_next_one_knows(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = made(root, "a", "1")
    for number in range(20):
        (left / f"rows-{number}").mkdir()
    calls = iter(range(10))

    def killed(name: str, *, dir_fd: int, **_: object) -> None:
        if next(calls) == 5:
            raise SystemExit
        os.rmdir(name, dir_fd=dir_fd)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("shutil.rmtree", killed)
        Staging(str(root), "a", "2").remove_stale(holds_lock=True)
    assert len(list(left.glob("rows-*"))) == 15
    assert Staging(str(root), "a", "3").remove_stale(holds_lock=True) == ["run-1"]
    assert not left.exists()


def test_what_cannot_be_removed_is_not_called_removed_and_is_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = made(root, "a", "1")
    (left / "stuck").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        assert Staging(str(root), "a", "2").remove_stale(holds_lock=True) == []
    assert left.exists()
    assert Staging(str(root), "a", "2").remove_stale(holds_lock=True) == ["run-1"]


def test_with_the_lock_every_other_run_of_the_store_has_ended_but_not_those_of_other_stores(root: Path) -> None:
    left, other = made(root, "a", "1"), made(root, "b", "1")
    own = Staging(str(root), "a", "2")
    mine = Path(own.path("rows")).parent
    assert own.remove_stale(holds_lock=True) == ["run-1"]
    assert not left.exists() and other.exists() and mine.exists()


def test_links_are_never_followed(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    foreign = made(target, "a", "1")
    (foreign / "data").write_text("precious", encoding="utf-8")
    dead = made(root, "a", "9")
    (dead / "link").symlink_to(target)
    (root / "mmrec-a" / "run-1").symlink_to(foreign)
    die(dead)
    assert Staging(str(root), "a", "3").remove_stale(holds_lock=True) == ["run-9"]
    assert (foreign / "data").read_text(encoding="utf-8") == "precious"
    (root / "mmrec-c").symlink_to(target / "mmrec-a")
    assert Staging(str(root), "c", "3").remove_stale(holds_lock=True) == []
    assert (foreign / "data").exists()


@pytest.mark.parametrize(
    "marker", ["", "{", "[]", '{"store": "b", "run": "1"}', '{"store": "a", "run": "2"}', '{"store": "a"}']
)
def test_a_folder_whose_marker_does_not_name_it_stays(root: Path, marker: str) -> None:
    folder = root / "mmrec-a" / "run-1"
    folder.mkdir(parents=True)
    (folder / MARKER).write_text(marker, encoding="utf-8")
    assert Staging(str(root), "a", "3").remove_stale(holds_lock=True) == []
    assert folder.exists()


def test_a_run_killed_before_its_marker_left_an_empty_folder_which_goes(root: Path) -> None:
    (root / "mmrec-a" / "run-1").mkdir(parents=True)
    Staging(str(root), "a", "3").remove_stale(holds_lock=False)
    assert not (root / "mmrec-a" / "run-1").exists()


def test_a_folder_that_is_there_already_is_not_taken(root: Path) -> None:
    (root / "mmrec-a" / "run-1").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        Staging(str(root), "a", "1").path("rows")


def test_a_file_uri_is_a_path(root: Path) -> None:
    assert Staging(f"file://{root}", "a", "1").folder == f"{root}/mmrec-a"


# who is alive


NOW = datetime(2026, 1, 10, tzinfo=UTC)


def marker_of(started_at: datetime, **process: Any) -> dict[str, Any]:
    return {"started_at": started_at.isoformat(), "process": process_identity(os.getpid()) | process}


def test_a_process_of_this_machine_is_asked_whatever_its_age() -> None:
    long_ago = NOW - 10 * ABANDONED_AFTER
    assert is_alive(marker_of(long_ago), NOW)
    assert not is_alive(marker_of(NOW, start="another start: the id is used again"), NOW)
    assert not is_alive(marker_of(NOW, pid=2**22 + 1, start=None), NOW)


@pytest.mark.parametrize("elsewhere", [{"host": "other"}, {"boot": "other"}, {"pids": "other"}])
def test_a_process_of_another_machine_counts_as_alive_for_a_week(elsewhere: dict[str, str]) -> None:
    assert is_alive(marker_of(NOW - ABANDONED_AFTER + timedelta(hours=1), **elsewhere), NOW)
    assert not is_alive(marker_of(NOW - ABANDONED_AFTER - timedelta(hours=1), **elsewhere), NOW)


def test_a_marker_that_tells_nothing_counts_as_alive() -> None:
    assert is_alive({}, NOW)
