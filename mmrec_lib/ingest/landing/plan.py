"""Plan of an ingest: new deliveries of a landing folder, and the pieces they split into."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from mmrec_lib.ingest.landing.delivery import Delivery, FileProblem, FoundFile, KnownFile, LandingPlan, Split, TableRead
from mmrec_lib.ingest.landing.delta_log import DeltaLogError, TableState, read_state
from mmrec_lib.ingest.landing.names import folder_fields, format_detail, format_of, kind_of, kind_of_table, vector_name
from mmrec_lib.ingest.landing.parquet import MAX_VECTOR_LENGTH, bomb_in
from mmrec_lib.ingest.landing.raw_row import HEADER_BYTES
from mmrec_lib.ingest.landing.shape import BOM, GZIP, HEAD_BYTES, shape_of
from mmrec_lib.ingest.landing.streams import CHUNK, PackedError, Unpacked

if TYPE_CHECKING:
    from mmrec_lib.ingest.landing.folder import LandingFolder

_HASH_THREADS = 4
_MAX_HEADER = 4 << 20


class Piece(NamedTuple):
    """A piece of a file that ends with a line: its bytes, the number of its first line from 1, and its CRC-32."""

    start: int
    stop: int
    first_line: int
    crc: int


def plan_deliveries(
    landing: LandingFolder, files: Iterable[FoundFile], known: Iterable[KnownFile], split_bytes: int
) -> LandingPlan:
    """The record files that the store has not read yet, hashed and split, sorted by path.

    A file that was touched but not changed is no new delivery. One that was changed back is. Which delivery of a path
    is the newest is told by the order in which they were committed, never by a clock.

    Args:
        landing: The folder.
        files: What is in it.
        known: What the store has read.
        split_bytes: About how large the pieces are.
    """
    in_order = sorted(known, key=lambda k: (k.number or 0, k.written_us))
    latest = {known_file.path: known_file for known_file in in_order}
    file_ids = {known_file.file_id for known_file in in_order}
    touched: list[tuple[KnownFile, FoundFile]] = []

    def deliver(file: FoundFile) -> Delivery | None:
        last = latest.get(file.path)
        is_same = last is not None and (last.bytes_len, last.modified_us) == (file.bytes_len, file.modified_us)
        if is_same and (file.table_version is None or (last is not None and last.table_version == file.table_version)):
            return None
        delivery = _Planner(landing, split_bytes).deliver(file, last)
        if delivery is None or (last is not None and last.sha256 == delivery.sha256):
            if last is not None:
                touched.append((last, file))
            return None
        if not delivery.is_read or delivery.file_id not in file_ids:
            return delivery
        return _again(delivery, last)

    records = [file for file in files if _kind(file) is not None]
    with ThreadPoolExecutor(max_workers=_HASH_THREADS) as pool:
        deliveries = [delivery for delivery in pool.map(deliver, records) if delivery is not None]
    return LandingPlan(deliveries, sorted(touched, key=lambda pair: pair[1].path))


def unread(file: FoundFile, kind: str, problem: FileProblem) -> Delivery:
    """A place whose bytes could not be read: it is named in quarantine and tried again by every ingest."""
    return Delivery(file, kind, unread_id(file.path), "", (), problem)


def unread_id(path: str) -> str:
    """Identity under which quarantine names a place whose bytes could not be read."""
    return f"unread-{file_id_of(path, '')}"


def file_id_of(*parts: str) -> str:
    """Identity of a delivery: a hash over path and content."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def commit_path(table: FoundFile) -> str:
    """Path of the newest commit of a Delta table, whose hash stands for the table's."""
    return f"{table.path}/_delta_log/{table.table_version:020d}.json"


def hash_and_split(stream: Any, split_bytes: int) -> tuple[str, list[Piece]]:
    """Hash a stream and find pieces of about `split_bytes` that end with a line.

    Returns:
        sha256 in hexadecimal, and the pieces.
    """
    digest = hashlib.sha256()
    pieces: list[Piece] = []
    offset, start, first_line, lines, crc = 0, 0, 1, 0, 0
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
        done = 0
        while (end := chunk.find(b"\n", max(done, start + split_bytes - offset - 1))) >= 0:
            lines += chunk.count(b"\n", done, end + 1)
            crc = zlib.crc32(memoryview(chunk)[done : end + 1], crc)
            pieces.append(Piece(start, offset + end + 1, first_line, crc))
            start, first_line, done, crc = offset + end + 1, 1 + lines, end + 1, 0
        lines += chunk.count(b"\n", done)
        crc = zlib.crc32(memoryview(chunk)[done:], crc)
        offset += len(chunk)
    if start < offset:
        pieces.append(Piece(start, offset, first_line, crc))
    return digest.hexdigest(), pieces


def _kind(file: FoundFile) -> str | None:
    return kind_of(file.path) if file.table_version is None else kind_of_table(file.path)


def _again(delivery: Delivery, last: KnownFile | None) -> Delivery:
    """A content that this path has had before, and then another: a delivery of its own."""
    file_id = file_id_of(delivery.file.path, delivery.sha256, last.file_id if last else "")
    splits = tuple(replace(split, file_id=file_id) for split in delivery.splits)
    return replace(delivery, file_id=file_id, splits=splits)


class _Planner:
    """Plans one file."""

    def __init__(self, landing: LandingFolder, split_bytes: int) -> None:
        self._landing = landing
        self._split_bytes = split_bytes

    def deliver(self, file: FoundFile, last: KnownFile | None) -> Delivery | None:
        """A delivery, with its problem where nothing of it can be read; None when a table has no new rows."""
        kind = _kind(file)
        assert kind is not None
        try:
            if file.table_version is not None:
                return self._table(file, kind, last)
            return self._file(file, kind)
        except OSError as error:
            detail = f"{file.path}: this file cannot be opened ({error.strerror or error}); it is read once it can be"
            return unread(file, kind, FileProblem("unreadable_file", detail, b"", is_lost=False))

    def _file(self, file: FoundFile, kind: str) -> Delivery:
        with self._landing.open(file.path) as stream:
            before = self._landing.state_of(stream, file.path)
            head = bytes(stream.read(HEAD_BYTES))
            stream.seek(0)
            sha256, pieces = hash_and_split(stream, self._split_bytes)
            file = replace(file, bytes_len=before[0], modified_us=before[1])
            if self._landing.state_of(stream, file.path) != before or (pieces[-1].stop if pieces else 0) != before[0]:
                return unread(file, kind, changed(file.path))
            file_id = file_id_of(file.path, sha256)
            delivery = Delivery(file, kind, file_id, sha256, ())
            file_format = format_of(file.path)
            if file_format is None:
                detail = format_detail(file.path, kind)
                return replace(delivery, problem=FileProblem("unsupported_format", detail, head, is_lost=False))
            fields = folder_fields(file.path)
            whole = Split(
                file.path,
                file_id,
                kind,
                file_format,
                0,
                file.bytes_len,
                1,
                fields=json.dumps(fields, sort_keys=True) if fields else None,
                bytes_len=file.bytes_len,
                modified_us=file.modified_us,
            )
            if file_format == "parquet":
                stream.seek(0)
                return self._parquet(delivery, whole, stream, head)
            return self._text(delivery, whole, stream, head, pieces)

    def _text(self, delivery: Delivery, whole: Split, stream: Any, head: bytes, pieces: list[Piece]) -> Delivery:
        path, raw = delivery.file.path, head
        if not pieces:
            return delivery
        is_packed, num_lines = head.startswith(GZIP), 0
        if is_packed:
            stream.seek(0)
            try:
                head, num_lines = _unpacked_head(Unpacked(stream, delivery.file.bytes_len))
            except PackedError as error:
                problem = FileProblem("unreadable_file", f"{path}: nothing of it was read: {error}", raw)
                return replace(delivery, problem=problem)
            if not num_lines:
                return delivery
        shape = shape_of(head, whole.format)
        if shape.problem is not None:
            lines = num_lines if is_packed else max(1, _count(stream, shape.line_end))
            problem = FileProblem("unreadable_file", f"{path}: {shape.problem}", raw, num_records=lines)
            return replace(delivery, problem=problem)
        crc = 0
        if is_packed or shape.values or whole.format != "json":
            stream.seek(0)
            while chunk := stream.read(CHUNK):
                crc = zlib.crc32(chunk, crc)
            whole = replace(whole, codec="gzip" if is_packed else None, shape="values" if shape.values else None)
            header = _long_header(stream, delivery.file.bytes_len, is_packed) if whole.format != "json" else None
            return replace(delivery, splits=(replace(whole, crc=crc),), header=header)
        splits = [replace(whole, start=a, stop=b, first_line=line, crc=crc) for a, b, line, crc in pieces]
        return replace(delivery, splits=tuple(splits))

    def _parquet(self, delivery: Delivery, whole: Split, stream: Any, head: bytes) -> Delivery:
        path = delivery.file.path
        try:
            parquet = pq.ParquetFile(stream)
            names = parquet.schema_arrow.names
            num_rows = max(1, parquet.metadata.num_rows)
            twice = sorted({n for n in names if names.count(n) > 1})
            problem = f"a Parquet file is needed, but it has a column twice: {twice}" if twice else None
            if problem is not None:
                detail = f"{path}: {problem}"
                return replace(delivery, problem=FileProblem("unreadable_file", detail, head, num_records=num_rows))
            # What a bomb says of its records is no reason to believe that there are any.
            if (bomb := bomb_in(parquet.metadata, is_vectors=whole.kind == "provided_vector")) is not None:
                return replace(delivery, problem=FileProblem("unreadable_file", f"{path}: {bomb}", head))
            if whole.kind == "provided_vector":
                modality, encoder_id = vector_name(path)
                dim = min(_first_dim(parquet), MAX_VECTOR_LENGTH)
                whole = replace(whole, modality=modality, encoder_id=encoder_id, dim=dim)
            return replace(delivery, splits=_group_splits(parquet.metadata, whole, self._split_bytes))
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
            said = " ".join(str(error).split())[:300]
            if head.startswith(GZIP):
                said = "it is compressed with gzip; unpack it"
            problem_of_file = FileProblem("unreadable_file", f"{path}: a Parquet file is needed, but {said}", head)
            return replace(delivery, problem=problem_of_file)

    def _table(self, file: FoundFile, kind: str, last: KnownFile | None) -> Delivery | None:
        names = self._landing.table_files(file.path)
        log = [name for name in names if name.startswith(f"{file.path}/_delta_log/")]
        sha256 = hashlib.sha256(self._landing.read_bytes(commit_path(file))).hexdigest()
        delivery = Delivery(file, kind, file_id_of(file.path, sha256), sha256, ())
        try:
            state = read_state(log, self._landing.open)
            if any(not self._landing.holds(name) for name in names):
                raise DeltaLogError("a file of it is a link out of the landing folder")
        except DeltaLogError as error:
            detail = f"{file.path}: this Delta table cannot be read: {error}"
            return replace(delivery, problem=FileProblem("unreadable_file", detail, b""))
        read = _table_read(state, last)
        return None if read is None else replace(delivery, table=read)


def changed(path: str) -> FileProblem:
    """The problem of a file that is written while it is read."""
    detail = f"{path}: this file changed while it was read; nothing of it is stored, and the next run reads it"
    return FileProblem("file_changed", detail, b"", is_lost=False)


def _table_read(state: TableState, last: KnownFile | None) -> TableRead | None:
    """Part of a table to read; None when no row changed since it was read last."""
    if last is None or last.table_id != state.table_id or last.table_version is None:
        return TableRead(state.table_id, state.version, None)
    if last.table_version > state.version:  # restored from a copy
        return TableRead(state.table_id, state.version, None)
    if state.changed_at is not None and state.changed_at <= last.table_version:
        return None
    return TableRead(state.table_id, state.version, last.table_version + 1 if state.has_feed else None)


def _unpacked_head(content: Unpacked) -> tuple[bytes, int]:
    """The first bytes of a compressed file, and how many lines it holds; reads all of it."""
    head, num_lines, num_bytes = b"", 0, 0
    while chunk := content.read(CHUNK):
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
        num_lines += chunk.count(b"\n")
        num_bytes += len(chunk)
    return head, num_lines or min(num_bytes, 1)


def _count(stream: Any, line_end: bytes) -> int:
    """Number of lines of a file."""
    stream.seek(0)
    num_lines, last = 0, b""
    while chunk := stream.read(CHUNK):
        num_lines, last = num_lines + chunk.count(line_end), chunk.rstrip(b"\0")[-1:]
    return num_lines + (last not in (b"", line_end))


def _long_header(stream: Any, bytes_len: int, is_packed: bool) -> bytes | None:
    """First line of a CSV file when it is too long to be kept with each row."""
    stream.seek(0)
    source = Unpacked(stream, bytes_len) if is_packed else stream
    start = b""
    while len(start) < _MAX_HEADER and b"\n" not in start and (chunk := source.read(CHUNK)):
        start += chunk
    header = start.split(b"\n", 1)[0].removeprefix(BOM).removesuffix(b"\r")[:_MAX_HEADER]
    return header if len(header) > HEADER_BYTES else None


def _group_splits(metadata: pq.FileMetaData, whole: Split, split_bytes: int) -> tuple[Split, ...]:
    splits, first_group, first_row, next_row, size = [], 0, 1, 1, 0
    for group in range(metadata.num_row_groups):
        meta = metadata.row_group(group)
        next_row, size = next_row + meta.num_rows, size + meta.total_byte_size
        if size >= split_bytes or group == metadata.num_row_groups - 1:
            splits.append(replace(whole, start=first_group, stop=group + 1, first_line=first_row))
            first_group, first_row, size = group + 1, next_row, 0
    return tuple(splits)


def _first_dim(parquet: pq.ParquetFile) -> int:
    """Length of the first vector of a file; 0 when there is none that can be read."""
    if "vector" not in parquet.schema_arrow.names:
        return 0
    for group in range(parquet.metadata.num_row_groups):
        try:
            for batch in parquet.iter_batches(batch_size=8, row_groups=[group], columns=["vector"], use_threads=False):
                for value in batch.column(0):
                    if value.is_valid and hasattr(value, "__len__") and len(value):
                        return len(value)
        except (OSError, ValueError, NotImplementedError):  # told by the worker that reads the rows of this group
            continue
    return 0
