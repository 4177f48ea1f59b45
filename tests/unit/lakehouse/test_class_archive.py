"""The archive of Java's classes: one for this Java and these jars, used where it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrec_lib.lakehouse import class_archive, prepare
from mmrec_lib.lakehouse.class_archive import archive_options, archive_path, known_archives


@pytest.fixture
def pyspark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package pyspark."""
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark.jar").write_bytes(b"1")
    monkeypatch.setattr(class_archive, "_folder", lambda: tmp_path)
    return tmp_path


def test_other_jars_have_another_archive(pyspark: Path) -> None:
    before = archive_path()
    assert archive_path() == before and before.parent == pyspark
    (pyspark / "jars" / "spark.jar").write_bytes(b"12")
    assert archive_path() != before


def test_an_archive_is_used_where_there_is_one(pyspark: Path) -> None:
    assert archive_options() == []
    archive_path().write_bytes(b"classes")
    assert archive_options()[0] == f"-XX:SharedArchiveFile={archive_path()}"
    assert archive_path().name.startswith("mmrec-classes-")


def test_setting_up_again_keeps_the_archive_and_removes_those_of_other_jars(
    pyspark: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def run(command: list[str], **_: object) -> object:
        part = command[-1].split("write_archive(")[1].strip("()'")
        made.append(part)
        Path(part).write_bytes(b"classes")
        return type("Done", (), {"returncode": status, "stderr": "WARN\nMachineError: Java: status 9"})

    status = 0
    old = pyspark / "mmrec-classes-0000.jsa"
    old.write_bytes(b"of another Java")
    path = archive_path()  # before `run` is replaced: it asks Java
    monkeypatch.setattr(prepare, "archive_path", lambda: path)
    monkeypatch.setattr(prepare.subprocess, "run", run)
    assert prepare.make_class_archive() and known_archives() == [path] and not old.exists()
    assert prepare.make_class_archive() and len(made) == 1
    path.unlink()
    status = 1
    assert not prepare.make_class_archive(), "a Java that was killed while it wrote leaves nothing"
    assert known_archives() == [] and not Path(made[-1]).exists()
    assert capsys.readouterr().err == "The archive of Java's classes was not made: MachineError: Java: status 9.\n"
