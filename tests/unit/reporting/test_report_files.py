from __future__ import annotations

from pathlib import Path

import pytest

from mmrec_lib.reporting.files import PAGE, SUMMARY, are_whole


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / PAGE).write_text("<html><body>" + "x" * 500 + "</body></html>\n", encoding="utf-8")
    (tmp_path / SUMMARY).write_text('{"seconds": {}}\n', encoding="utf-8")
    return tmp_path


def test_files_as_they_were_written_are_whole(folder: Path) -> None:
    assert are_whole(folder)


@pytest.mark.parametrize("name", [PAGE, SUMMARY])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "link", "folder"])
def test_files_that_somebody_removed_cut_or_replaced_are_not(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "link":
        (folder / "elsewhere").write_bytes(content)
        path.symlink_to(folder / "elsewhere")
    elif damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(b"" if damage == "empty" else content[:-12])
    assert not are_whole(folder)
