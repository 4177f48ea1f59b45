"""The two files that the report job writes, and whether they are whole."""

from __future__ import annotations

import json
from pathlib import Path

PAGE, SUMMARY = "report.html", "summary.json"
_PAGE_END = b"</html>"
_TAIL_BYTES = 64


def are_whole(folder: Path) -> bool:
    """Tell if page and summary are plain files with an end, so that they need not be written again."""
    return _is_whole_page(folder / PAGE) and _is_whole_summary(folder / SUMMARY)


def _is_whole_page(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
        return file.read().rstrip().endswith(_PAGE_END)


def _is_whole_summary(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False
