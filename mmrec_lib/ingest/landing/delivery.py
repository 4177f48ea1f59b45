"""Files found in a landing folder, deliveries that a store knows, and pieces to read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FoundFile:
    """A file of the landing folder, or a Delta table in it.

    Attributes:
        path: Relative to the landing folder, in NFC.
        bytes_len: Size in bytes; of a table that of its newest commit.
        modified_us: Modification time in microseconds since the epoch; of a table that of its newest commit.
        table_version: Current version of a Delta table; None for a file.
    """

    path: str
    bytes_len: int
    modified_us: int
    table_version: int | None = None


@dataclass(frozen=True)
class FoundProblem:
    """A place of the landing folder that cannot be read: path, reason for the quarantine, and a sentence."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Scan:
    """Content of a landing folder.

    Attributes:
        files: Files and tables but hidden ones, sorted by path.
        problems: What is there and cannot be read.
        outside: Folders that are links out of the landing folder; nothing below them is looked at.
    """

    files: list[FoundFile]
    problems: list[FoundProblem]
    outside: list[str]


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
        number: Number of the ingest that read it; None in rows of older versions, which came before all numbered ones.
        table_version: Version of a Delta table that was read; None for a file.
        table_id: Identity of that table.
    """

    path: str
    bytes_len: int
    modified_us: int
    file_id: str
    sha256: str
    written_us: int
    number: int | None = None
    table_version: int | None = None
    table_id: str | None = None


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
        codec: gzip for a compressed text file.
        shape: `values` for a JSON file that is an array or has objects over several lines.
        fields: Fields that its folders give to its records, as JSON; None when there are none.
        crc: CRC-32 of the bytes from `start` to `stop`; None for Parquet.
        bytes_len: Size of the file when it was hashed.
        modified_us: Its modification time then.
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
    codec: str | None = None
    shape: str | None = None
    fields: str | None = None
    crc: int | None = None
    bytes_len: int | None = None
    modified_us: int | None = None


@dataclass(frozen=True)
class TableRead:
    """Part of a Delta table to read.

    Attributes:
        table_id: Identity of the table.
        version: Version to read.
        changes_from: First version of the change feed to read; None reads the whole version.
    """

    table_id: str
    version: int
    changes_from: int | None


@dataclass(frozen=True)
class FileProblem:
    """Problem of a file of which no record can be read.

    Attributes:
        reason: Reason for the quarantine: `unsupported_format`, `unreadable_file` or `file_changed`.
        detail: A sentence that names the file and what to do.
        raw: Its first bytes.
        is_lost: Whether records were delivered and cannot be read; false for what is not of a format that is read, and
            for a file that is read as soon as it can be opened.
        num_records: How many records are lost; None when the file does not tell.
    """

    reason: str
    detail: str
    raw: bytes
    is_lost: bool = True
    num_records: int | None = None


@dataclass(frozen=True)
class Delivery:
    """A landing file that the store has not read yet: its identity and pieces, or its problem.

    Attributes:
        file: The file.
        kind: Kind of its records; `file` for a place that is no record file.
        file_id: Identity of the delivery.
        sha256: Hash of the bytes; empty when they were not read.
        splits: Pieces to read.
        problem: Why nothing of it is read.
        table: What to read of a Delta table.
        header: First line of a CSV file whose rows are kept without it, because it is long.
    """

    file: FoundFile
    kind: str
    file_id: str
    sha256: str
    splits: tuple[Split, ...]
    problem: FileProblem | None = None
    table: TableRead | None = None
    header: bytes | None = None

    @property
    def is_read(self) -> bool:
        """Tell whether the bytes were read; what was not is no delivery and is tried again by every ingest."""
        return bool(self.sha256)


@dataclass(frozen=True)
class LandingPlan:
    """Work of an ingest: new deliveries, and known ones whose modification time alone has changed."""

    deliveries: list[Delivery]
    touched: list[tuple[KnownFile, FoundFile]]
