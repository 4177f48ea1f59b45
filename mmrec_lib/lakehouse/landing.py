"""Landing folders: which files are there, which of them are new deliveries, and into which pieces they split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs
import pyarrow.parquet as pq

from mmrec_lib.errors import LandingError

SOURCES: tuple[tuple[str, str], ...] = (
    ("user_edges", "user_edge"),
    ("events", "event"),
    ("reviews", "review"),
    ("items", "item"),
    ("users", "user"),
    ("transcripts", "provided_text"),
)
"""Start of a file's first path component → kind of its records; the longest start wins."""

MEDIA_FOLDERS = ("images", "audio", "video")
MODALITIES = ("text", "image", "audio", "video")
FILE_RAW_BYTES = 64 * 1024

_FORMATS = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_CHUNK = 1 << 20
_HASH_THREADS = 4
_EXPECTED = "events*, reviews*, items*, users*, user_edges*, transcripts*, vectors/*.parquet or graph*.tsv"


@dataclass(frozen=True)
class FoundFile:
    """A file of the landing folder; the path is relative to it, the time in microseconds since the epoch."""

    path: str
    bytes_len: int
    modified_us: int


@dataclass(frozen=True)
class KnownFile:
    """A delivery that the store has read before.

    Attributes:
        path: Path relative to the landing folder.
        bytes_len: Size in bytes.
        modified_us: Modification time, microseconds since the epoch.
        file_id: Identity of the delivery.
        sha256: Hash of the bytes.
        written_us: When its row of landing_file was written, microseconds since the epoch.
    """

    path: str
    bytes_len: int
    modified_us: int
    file_id: str
    sha256: str
    written_us: int


@dataclass(frozen=True)
class Split:
    """A piece of a landing file that one worker reads at a time.

    Attributes:
        path: Path relative to the landing folder.
        file_id: Identity of the delivery.
        kind: Table of the records.
        format: json, csv, tsv or parquet.
        start: First byte (json), or first row group (parquet).
        stop: Byte or row group after the last one.
        first_line: Number of the first line or row, from 1.
        modality: Of vectors: their modality.
        encoder_id: Of vectors: who made them.
        dim: Of vectors: their length in this file; 0 when no row has a vector.
    """

    path: str
    file_id: str
    kind: str
    format: str
    start: int
    stop: int
    first_line: int
    modality: str | None = None
    encoder_id: str | None = None
    dim: int | None = None


@dataclass(frozen=True)
class FileProblem:
    """Why no record of a file can be read: `unsupported_format` or `unreadable_file`, and the first bytes."""

    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True)
class Delivery:
    """A landing file that the store has not read yet: its identity and pieces, or its problem."""

    file: FoundFile
    kind: str
    file_id: str
    sha256: str
    splits: tuple[Split, ...]
    problem: FileProblem | None = None


class LandingFolder:
    """A landing folder under a local path or a URI that pyarrow can open; picklable, so that workers can read it.

    Attributes:
        uri: Where it is.
    """

    def __init__(self, uri: str) -> None:
        """Bind to a folder.

        Raises:
            LandingError: When there is no such folder.
        """
        self.uri = uri
        try:
            self._fs, self._root = _filesystem(uri)
            kind = self._fs.get_file_info(self._root).type
        except (OSError, ValueError, NotImplementedError) as error:
            raise LandingError(f"DATA {uri}: a landing folder is needed, but it cannot be opened ({error}).") from error
        if kind != pyarrow.fs.FileType.Directory:
            what = "there is nothing" if kind == pyarrow.fs.FileType.NotFound else "that is a file"
            raise LandingError(f"DATA {uri}: a landing folder is needed, but {what}. Check the path.")

    def __reduce__(self) -> tuple[type[LandingFolder], tuple[str]]:
        """Travel as the URI: file systems do not always pickle."""
        return LandingFolder, (self.uri,)

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine's file system."""
        return isinstance(self._fs, pyarrow.fs.LocalFileSystem)

    def files(self) -> list[FoundFile]:
        """All files but hidden ones (a component that starts with `.` or `_`), sorted by path."""
        found = self._local_files() if self.is_local else self._remote_files()
        return sorted((f for f in found if not _is_hidden(f.path)), key=lambda file: file.path)

    def _remote_files(self) -> Iterator[FoundFile]:
        root = self._root.rstrip("/")
        for info in self._fs.get_file_info(pyarrow.fs.FileSelector(root, recursive=True)):
            if info.type == pyarrow.fs.FileType.File:
                modified_us = (info.mtime_ns or 0) // 1000
                yield FoundFile(info.path[len(root) :].lstrip("/"), info.size, modified_us)

    def _local_files(self) -> Iterator[FoundFile]:
        root, seen = Path(self._root), set[str]()
        for folder, subfolders, names in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link back to a folder above
                subfolders.clear()
                continue
            seen.add(real)
            for name in names:
                path = Path(folder, name)
                try:
                    stat = path.stat()
                    relative = path.relative_to(root).as_posix()
                    relative.encode("utf-8")
                except (OSError, UnicodeEncodeError):  # a dangling link, or a name that is no text
                    continue
                if path.is_file():
                    yield FoundFile(relative, stat.st_size, stat.st_mtime_ns // 1000)

    def require_sources(self) -> None:
        """Check that there is something to read at all.

        Raises:
            LandingError: When the folder holds no known source.
        """
        if not any(kind_of(file.path) is not None for file in self.files()):
            raise LandingError(
                f"DATA {self.uri}: no known source is there. A landing folder holds files or folders named {_EXPECTED} "
                "(the README describes the formats)."
            )

    def deliveries(self, files: Iterable[FoundFile], known: Iterable[KnownFile], split_bytes: int) -> list[Delivery]:
        """The record files that the store has not read yet, hashed and split, sorted by path.

        A file that was touched but not changed is no new delivery. One that was changed back is.

        Args:
            files: What is in the folder; see `files`.
            known: What the store has read.
            split_bytes: About how large the pieces are.
        """
        records = [(file, kind) for file in files if (kind := kind_of(file.path)) is not None]
        by_time = sorted(known, key=lambda k: k.written_us)
        latest = {known_file.path: known_file for known_file in by_time}
        file_ids = {known_file.file_id for known_file in by_time}

        def deliver(record: tuple[FoundFile, str]) -> Delivery | None:
            file, kind = record
            last = latest.get(file.path)
            if last is not None and (last.bytes_len, last.modified_us) == (file.bytes_len, file.modified_us):
                return None
            delivery = self._delivery(file, kind, split_bytes)
            if last is None or last.sha256 != delivery.sha256:
                return delivery if delivery.file_id not in file_ids else _again(delivery, last)
            return None

        with ThreadPoolExecutor(max_workers=_HASH_THREADS) as pool:
            return [delivery for delivery in pool.map(deliver, records) if delivery is not None]

    def _delivery(self, file: FoundFile, kind: str, split_bytes: int) -> Delivery:
        file_format = format_of(file.path)
        try:
            with self.open(file.path) as stream:
                head = stream.read(FILE_RAW_BYTES)
                stream.seek(0)
                sha256, ranges = hash_and_split(stream, split_bytes)
        except OSError as error:
            raise LandingError(f"DATA {self.uri}: {file.path} cannot be read ({error}).") from error
        file_id = _file_id(file.path, sha256)
        problem: FileProblem | None = None
        splits: tuple[Split, ...] = ()
        whole = Split(file.path, file_id, kind, file_format or "", 0, file.bytes_len, 1)
        if file_format is None:
            problem = FileProblem("unsupported_format", _format_detail(file.path, kind), head)
        elif file_format == "json":
            splits = tuple(replace(whole, start=a, stop=b, first_line=line) for a, b, line in ranges)
        elif file_format == "parquet":
            try:
                splits = self._parquet_splits(whole, split_bytes)
            except (OSError, ValueError, KeyError, TypeError) as error:
                problem = FileProblem("unreadable_file", f"{file.path}: a Parquet file is needed, but {error}", head)
        else:
            splits = (whole,) if file.bytes_len else ()
        return Delivery(file, kind, file_id, sha256, splits, problem)

    def _parquet_splits(self, whole: Split, split_bytes: int) -> tuple[Split, ...]:
        with self.open(whole.path) as stream:
            parquet = pq.ParquetFile(stream)
            names = parquet.schema_arrow.names
            if len(set(names)) != len(names):
                raise ValueError(f"it has a column twice: {sorted({n for n in names if names.count(n) > 1})}")
            if whole.kind == "provided_vector":
                modality, encoder_id = vector_name(whole.path)
                whole = replace(whole, modality=modality, encoder_id=encoder_id, dim=_first_dim(parquet))
            splits, first_group, first_row, next_row, size = [], 0, 1, 1, 0
            for group in range(parquet.metadata.num_row_groups):
                meta = parquet.metadata.row_group(group)
                next_row, size = next_row + meta.num_rows, size + meta.total_byte_size
                if size >= split_bytes or group == parquet.metadata.num_row_groups - 1:
                    splits.append(replace(whole, start=first_group, stop=group + 1, first_line=first_row))
                    first_group, first_row, size = group + 1, next_row, 0
            return tuple(splits)

    def open(self, path: str) -> Any:
        """A file of the folder, opened for reading at any position."""
        return self._fs.open_input_file(f"{self._root}/{path}")

    def read_bytes(self, path: str) -> bytes:
        """The bytes of a file of the folder.

        Raises:
            OSError: When it cannot be read.
        """
        with self.open(path) as stream:
            return bytes(stream.read())

    def holds(self, path: str) -> bool:
        """Whether a path leads to a place in the folder, links followed."""
        if not self.is_local:
            return True
        root = os.path.realpath(self._root)
        return os.path.commonpath([root, os.path.realpath(f"{root}/{path}")]) == root

    def uri_of(self, path: str) -> str:
        """Where a file of the folder is, for readers of `media_asset.uri`."""
        return f"{self.uri.rstrip('/')}/{path}"


def kind_of(path: str) -> str | None:
    """Kind of the records in a landing file, by its first path component; None when it is no record file."""
    first, _, rest = path.partition("/")
    if first == "vectors" and rest:
        return "provided_vector"
    if first.startswith("graph") and path.lower().endswith(".tsv"):
        return "graph_edge"
    return next((kind for start, kind in SOURCES if first.startswith(start)), None)


def format_of(path: str) -> str | None:
    """Format of a record file by its name; None when the kind is not read in it."""
    kind, extension = kind_of(path), PurePosixPath(path).suffix.lower()
    if kind == "graph_edge":
        return "tsv"
    if kind == "provided_vector":
        return "parquet" if extension == ".parquet" and vector_name(path)[0] in MODALITIES else None
    return _FORMATS.get(extension)


def vector_name(path: str) -> tuple[str, str]:
    """Modality and encoder of a vector file: `vectors/audio-vggish.parquet` → audio, vggish."""
    modality, _, encoder_id = PurePosixPath(path.partition("/")[2]).with_suffix("").as_posix().partition("-")
    return modality, encoder_id or "provided"


def hash_and_split(stream: Any, split_bytes: int) -> tuple[str, list[tuple[int, int, int]]]:
    """Hash a stream and find pieces of about `split_bytes` that end with a line.

    Returns:
        sha256 in hexadecimal, and (first byte, byte after the last, number of the first line from 1) of each piece.
    """
    digest = hashlib.sha256()
    pieces: list[tuple[int, int, int]] = []
    offset, start, first_line, lines = 0, 0, 1, 0
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        done = 0
        while (end := chunk.find(b"\n", max(done, start + split_bytes - offset - 1))) >= 0:
            lines += chunk.count(b"\n", done, end + 1)
            pieces.append((start, offset + end + 1, first_line))
            start, first_line, done = offset + end + 1, 1 + lines, end + 1
        lines += chunk.count(b"\n", done)
        offset += len(chunk)
    if start < offset:
        pieces.append((start, offset, first_line))
    return digest.hexdigest(), pieces


def _file_id(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _again(delivery: Delivery, last: KnownFile | None) -> Delivery:
    """A content that this path has had before, and then another: a delivery of its own."""
    file_id = _file_id(delivery.file.path, delivery.sha256, last.file_id if last else "")
    splits = tuple(replace(split, file_id=file_id) for split in delivery.splits)
    return replace(delivery, file_id=file_id, splits=splits)


def _filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    if "://" in uri:
        fs, root = pyarrow.fs.FileSystem.from_uri(uri)
        return fs, root
    return pyarrow.fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _format_detail(path: str, kind: str) -> str:
    if kind == "provided_vector":
        return f"{path}: vectors are read from vectors/<{'|'.join(MODALITIES)}>[-<encoder>].parquet"
    extension = PurePosixPath(path).suffix or "a file without extension"
    return f"{path}: {kind} records are read from {', '.join(_FORMATS)}, not from {extension}"


def _first_dim(parquet: pq.ParquetFile) -> int:
    if "vector" not in parquet.schema_arrow.names:
        return 0
    for batch in parquet.iter_batches(batch_size=256, columns=["vector"]):
        for value in batch.column(0):
            if value.is_valid and hasattr(value, "__len__") and len(value):
                return len(value)
    return 0
