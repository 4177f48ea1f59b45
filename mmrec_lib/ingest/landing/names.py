"""Meaning of the path of a landing file: kind, format, fields of its folders, and which folders are tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote

SOURCES: tuple[tuple[str, str], ...] = (
    ("user_edges", "user_edge"),
    ("user_controls", "user_control"),
    ("events", "event"),
    ("reviews", "review"),
    ("items", "item"),
    ("users", "user"),
    ("queries", "query"),
    ("answers", "answer"),
    ("labels", "label"),
    ("transcripts", "provided_text"),
)
"""Start of a file's first path component → kind of its records; the longest start wins."""

MEDIA_FOLDERS = ("images", "audio", "video")
MODALITIES = ("text", "image", "audio", "video")
EXPECTED = (
    "events*, reviews*, items*, users*, user_edges*, user_controls*, queries*, answers*, labels*, transcripts*, "
    "vectors/*.parquet or graph*.tsv"
)
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

_FORMATS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_DELTA_LOG, _HUDI, _ICEBERG = "_delta_log", ".hoodie", "metadata"


def kind_of(path: str) -> str | None:
    """Kind of the records in a landing file, by its first path component; None when it is no record file."""
    first, _, rest = path.partition("/")
    if first == "vectors" and rest:
        return "provided_vector"
    if first.startswith("graph") and plain_name(path).lower().endswith(".tsv"):
        return "graph_edge"
    return next((kind for start, kind in SOURCES if first.startswith(start)), None)


def kind_of_table(path: str) -> str | None:
    """Kind of the records in a table's folder; None when the name says none."""
    return "graph_edge" if path.startswith("graph") else kind_of(path)


def format_of(path: str) -> str | None:
    """Format of a record file by its name, a `.gz` at its end aside; None when the kind is not read in it."""
    kind, extension = kind_of(path), PurePosixPath(plain_name(path)).suffix.lower()
    if kind == "graph_edge":
        return "tsv"
    if kind == "provided_vector":
        return "parquet" if extension == ".parquet" and vector_name(path)[0] in MODALITIES else None
    return _FORMATS.get(extension)


def plain_name(path: str) -> str:
    """A path without the `.gz` at its end."""
    return path[:-3] if path.lower().endswith(".gz") else path


def format_detail(path: str, kind: str) -> str:
    """The sentence about a file whose name does not say a format that its kind is read in."""
    if kind == "provided_vector":
        return f"{path}: vectors are read from vectors/<{'|'.join(MODALITIES)}>[-<encoder>].parquet"
    extension = PurePosixPath(plain_name(path)).suffix or "a file without extension"
    return f"{path}: {kind} records are read from {', '.join(_FORMATS)} (each also with .gz), not from {extension}"


def vector_name(path: str) -> tuple[str, str]:
    """Modality and encoder of a vector file: `vectors/audio-vggish.parquet` → audio, vggish."""
    parts = [part for part in path.partition("/")[2].split("/") if "=" not in part] or [""]
    modality, _, encoder_id = PurePosixPath("/".join(parts)).with_suffix("").as_posix().partition("-")
    return modality, encoder_id or "provided"


def folder_fields(path: str) -> dict[str, str | None]:
    """Fields that `name=value` folders give to the records below them, as Spark and pandas write them.

    Both sides are URL-decoded; `__HIVE_DEFAULT_PARTITION__` and an empty value are null. Of two folders of one name the
    inner one counts. The name of a file of labels gives its records the task, such as `labels/topic.jsonl`.
    """
    fields: dict[str, str | None] = {"task": _task_of(path)} if kind_of(path) == "label" else {}
    for folder in path.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if equals and name:
            text = unquote(value)
            fields[unquote(name)] = None if text in ("", NULL_PARTITION) else text
    return fields


def _task_of(path: str) -> str | None:
    """Task of a file of labels: `labels/topic.jsonl`, `labels/topic/1.csv` and `labels-topic.csv` are of topic."""
    parts = [part for part in plain_name(path).split("/") if "=" not in part]
    if len(parts) > 2:
        return parts[1]
    name = PurePosixPath(parts[-1]).stem
    return (name if len(parts) > 1 else name.removeprefix("labels").lstrip("-_.")) or None


def is_hidden(path: str) -> bool:
    """Tell whether a component starts with `.` or `_`; a folder `_name=value` is a field."""
    return any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in path.split("/"))


def table_roots(paths: Iterable[str]) -> dict[str, str]:
    """Folders below the landing folder that hold a table: path → delta, iceberg or hudi, outermost first.

    Args:
        paths: Every file, hidden ones among them.
    """
    roots: dict[str, str] = {}
    for path in paths:
        parts = path.split("/")
        for index, part in enumerate(parts[:-1]):
            if index == 0:
                continue
            root = "/".join(parts[:index])
            if part == _DELTA_LOG:
                roots[root] = "delta"
            elif part == _HUDI:
                roots[root] = "hudi"
            elif part == _ICEBERG and index == len(parts) - 2 and parts[-1].endswith(".metadata.json"):
                roots.setdefault(root, "iceberg")
    inner = [root for root in roots if any(root.startswith(f"{other}/") for other in roots)]
    return {root: form for root, form in sorted(roots.items()) if root not in inner}


def root_of(path: str, roots: Iterable[str]) -> str | None:
    """The table's folder that a file lies in; None when it lies in none."""
    return next((root for root in roots if path.startswith(f"{root}/")), None)


def normal_form(path: str) -> str:
    """A path in NFC: macOS writes the same name in another form than most records do."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def spellings(path: str) -> list[str]:
    """The forms in which a path may be written on disk or in records, the given one first."""
    if path.isascii():
        return [path]
    return list(dict.fromkeys([path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))]))


def printable(path: str) -> str:
    """A path with bytes that are no UTF-8 spelled as escapes, so that it can be stored and shown."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
