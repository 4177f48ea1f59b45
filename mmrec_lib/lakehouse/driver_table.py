"""Small changes of tables in local folders, committed in this process by delta-rs.

A commit of Spark's plans, starts jobs over the log and writes one file, whatever it holds: seconds for ten rows. Here
the rows that a table should have are staged by Spark; the comparison and the commit take milliseconds. What is
committed is the same; rows are compared by the same hashes, which Spark makes.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    QueryBuilder,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError
from deltalake.table import TableMerger
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema

from mmrec_lib import __version__
from mmrec_lib.contracts.table import TableContract
from mmrec_lib.errors import ContractError
from mmrec_lib.lakehouse.commits import MAINTENANCE
from mmrec_lib.lakehouse.creation import LOG, has_commits, put_remnants_away
from mmrec_lib.lakehouse.ddl import table_properties
from mmrec_lib.lakehouse.merging import DELETE, INSERT, OPERATION, UPDATE, WriteResult
from mmrec_lib.lakehouse.table_files import MOST_READ, ListedTable
from mmrec_lib.location import local_path

MOST_STAGED_BYTES = 16 << 20
"""Parquet bytes of rows that are handled in this process at most."""
MOST_TABLE_BYTES = 64 << 20
"""Size of a table whose rows are changed in this process at most; rows are added to a table of any size."""

# Features that delta-rs writes, of those that a writer must know.
_FEATURES = frozenset({"appendOnly", "invariants", "checkConstraints", "changeDataFeed"})
# Words of delta-rs about rows that break a constraint, after their number.
_BROKEN = " rows failed validation check"
_HAVE = "_have"
_ROW = "_row"
# Without statistics: delta-rs counts the nulls of nested parts for columns of their name, and empty lists as nulls, and
# readers would take whole columns for null.
_WRITER = WriterProperties(compression="ZSTD", default_column_properties=ColumnProperties(statistics_enabled="NONE"))
_AS_MAINTENANCE = CommitProperties(custom_metadata={"userMetadata": MAINTENANCE})
# Old commits go when a checkpoint is made, as they do in Spark.
_HOOKS = PostCommitHookProperties(create_checkpoint=True)
_log = logging.getLogger(__name__)


class DriverTable:
    """A table in a local folder, to which this process commits.

    Attributes:
        contract: The table.
        folder: Its folder.
    """

    def __init__(self, contract: TableContract, folder: str, run_id: str, written_at: datetime) -> None:
        """Name the table, and the run for its audit columns; nothing is read or written yet."""
        self.contract = contract
        self.folder = folder
        self._stamps = {"run_id": run_id, "written_at": written_at}
        self._schema = to_arrow_schema(contract.schema, timezone="UTC")

    def create(self) -> None:
        """Make the table, with its constraints, in one commit; nothing when it is there.

        delta-rs takes no constraints when it makes a table, and a table is never there without them.
        """
        if has_commits(self.folder):
            return
        put_remnants_away(self.folder)
        log = Path(self.folder) / LOG
        log.mkdir(parents=True, exist_ok=True)
        first = log / f"{0:020d}.json"
        lines = "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in self._first_commit())
        written = log / f".{uuid.uuid4().hex}.tmp"
        try:
            written.write_text(lines, encoding="utf-8")
            os.link(written, first)
        except FileExistsError:
            return
        finally:
            written.unlink(missing_ok=True)

    def _first_commit(self) -> list[dict[str, object]]:
        """Actions of the commit that makes the table (Delta protocol, "Actions")."""
        now, contract = time.time_ns() // 1_000_000, self.contract
        more = [("changeDataFeed", contract.change_feed), ("checkConstraints", bool(contract.checks))]
        features = [name for name, is_used in more if is_used]
        protocol: dict[str, object] = {"minReaderVersion": 1, "minWriterVersion": 7 if features else 2}
        if features:
            protocol["writerFeatures"] = ["appendOnly", "invariants", *features]
        metadata = {
            "id": str(uuid.uuid4()),
            "description": contract.comment,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": contract.schema.json(),
            "partitionColumns": list(contract.partition_by),
            "configuration": table_properties(contract, with_checks=True),
            "createdTime": now,
        }
        info = {
            "timestamp": now,
            "operation": "CREATE TABLE",
            "operationParameters": {},
            "isBlindAppend": True,
            "engineInfo": f"mmrec/{__version__}",
        }
        return [{"commitInfo": info}, {"metaData": metadata}, {"protocol": protocol}]

    def can_add(self, listed: ListedTable | None) -> bool:
        """Tell if rows may be added here: the log tells all files, and delta-rs knows what a writer must know."""
        return listed is not None and listed.writer_features <= _FEATURES

    def can_change(self, listed: ListedTable | None) -> bool:
        """Tell if stored rows may be changed here, too: the table is small."""
        return self.can_add(listed) and listed is not None and listed.num_bytes <= MOST_TABLE_BYTES

    def staged(self, folder: str) -> pa.Table | None:
        """Rows that were staged for this table, with `OPERATION` where they have it; None when they are too large."""
        files = [str(file) for file in Path(folder).iterdir() if file.suffix == ".parquet"]
        if _num_bytes(files) > MOST_STAGED_BYTES:
            return None
        return self._typed(pyarrow.dataset.dataset(files, format="parquet"))

    def collected(self, rows: DataFrame) -> pa.Table | None:
        """Rows that are read from files and hardly computed; None when the files are too large, or not all here."""
        files = [local_path(file) for file in rows.inputFiles()]
        if None in files or _num_bytes([file for file in files if file is not None]) > MOST_STAGED_BYTES:
            return None
        return self._typed(rows.toArrow())

    def _typed(self, rows: pa.Table | pyarrow.dataset.Dataset) -> pa.Table:
        """Columns of this table, and `OPERATION`, in its types; all may be null."""
        fields = {field.name: field.with_nullable(True) for field in [*self._schema, pa.field(OPERATION, pa.string())]}
        names = [name for name in rows.schema.names if name in fields]
        found = rows.select(names) if isinstance(rows, pa.Table) else rows.to_table(names)
        return found.cast(pa.schema([fields[name] for name in names]))

    def differing(self, rows: pa.Table, where: Mapping[str, str | date], *, is_empty: bool) -> pa.Table:
        """The rows by which the table changes, as `merging.differing` finds them in Spark.

        Args:
            rows: See `marked`; of what is deleted only the key counts.
            where: Slice that all rows lie in; empty is the whole table.
            is_empty: The table has no rows, or is not there.

        Returns:
            Columns of `rows`, with `OPERATION` filled.

        Raises:
            ValueError: When a key is to be written twice.
        """
        keys = list(self.contract.key)
        is_delete = pc.fill_null(pc.equal(rows[OPERATION], DELETE), False)
        new, gone = rows.filter(pc.invert(is_delete)), rows.filter(is_delete).select(keys)
        if is_empty:
            changes = _with_operation(new, pa.array([INSERT] * len(new), pa.string()))
        else:
            have = self._stored_hashes(where)
            compared = new.select([*keys, "row_hash"]).append_column(_ROW, pa.array(range(len(new)), pa.int64()))
            joined = compared.join(have, keys, join_type="left outer")
            is_new = pc.is_null(joined[_HAVE])
            is_changed = pc.or_(is_new, pc.fill_null(pc.not_equal(joined[_HAVE], joined["row_hash"]), True))
            kinds = pc.if_else(is_new, INSERT, UPDATE)
            places, kinds = joined[_ROW].filter(is_changed), kinds.filter(is_changed)
            changes = _with_operation(new.take(places), kinds)
            if len(gone):
                known = gone.group_by(keys).aggregate([]).join(have.select(keys), keys, join_type="left semi")
                lost = known.join(new.select(keys), keys, join_type="left anti")
                lost = lost.append_column(OPERATION, pa.array([DELETE] * len(lost), pa.string()))
                changes = pa.concat_tables([changes, lost], promote_options="default")
        self._require_unique(changes)
        return changes

    def _stored_hashes(self, where: Mapping[str, str | date]) -> pa.Table:
        """Keys of stored rows with the hash of their content."""
        keys = list(self.contract.key)
        stored = DeltaTable(self.folder).to_pyarrow_dataset()
        condition = None
        for column, value in where.items():
            one = pc.field(column) == pa.scalar(value).cast(self._schema.field(column).type)
            condition = one if condition is None else condition & one
        found = stored.to_table([*keys, "row_hash"], filter=condition)
        types = [*(self._schema.field(key).with_nullable(True) for key in keys), pa.field("row_hash", pa.int64())]
        return found.cast(pa.schema(types)).rename_columns([*keys, _HAVE])

    def _require_unique(self, changes: pa.Table) -> None:
        keys = list(self.contract.key)
        twice = len(changes) - len(changes.group_by([OPERATION, *keys]).aggregate([]))
        if twice:
            raise ValueError(f"rows for {self.contract.name} hold {twice} keys twice; deduplicate by {keys} first")

    def compared(self, rows: pa.Table, where: Mapping[str, str | date]) -> WriteResult:
        """Count the rows that come, change and go when a slice is replaced by rows."""
        keys = list(self.contract.key)
        both = rows.select([*keys, "row_hash"]).join(self._stored_hashes(where), keys, join_type="full outer")
        is_new, is_gone = pc.is_null(both[_HAVE]), pc.is_null(both["row_hash"])
        is_other = pc.fill_null(pc.not_equal(both[_HAVE], both["row_hash"]), False)
        return WriteResult(*(pc.sum(flags).as_py() or 0 for flags in (is_new, is_other, is_gone)))

    def _stamped(self, rows: pa.Table) -> pa.Table:
        """All columns of the table, audit columns of this run among them."""
        stamps = {
            name: pa.repeat(pa.scalar(stamp, self._schema.field(name).type), len(rows))
            for name, stamp in self._stamps.items()
        }
        return pa.table({name: stamps[name] if name in stamps else rows[name] for name in self._schema.names})

    def append(self, rows: pa.Table) -> None:
        """Add rows in one commit."""
        stamped = self._stamped(rows)
        with self._checked():
            write_deltalake(
                self.folder, stamped, mode="append", writer_properties=_WRITER, post_commithook_properties=_HOOKS
            )
        self._compact()

    def change(self, changes: pa.Table, where: Mapping[str, str | date]) -> None:
        """Insert, update and delete rows in one commit.

        Args:
            changes: See `differing`.
            where: Slice that they lie in; the files of others are not looked at. Empty is the whole table.
        """
        if pc.all(pc.equal(changes[OPERATION], INSERT)).as_py():
            self.append(changes)
            return
        rows = self._stamped(changes).append_column(OPERATION, changes[OPERATION])
        columns = {name: f"s.`{name}`" for name in self._schema.names}
        merger = self._merger(rows, where).when_matched_delete(f"s.{OPERATION} = '{DELETE}'")
        merger = merger.when_matched_update(columns)
        merger = merger.when_not_matched_insert(columns, f"s.{OPERATION} <> '{DELETE}'")
        with self._checked():
            merger.execute()
        self._compact()

    def replace(self, rows: pa.Table, where: Mapping[str, str | date]) -> None:
        """Put rows in the place of those of a slice in one commit."""
        condition = " AND ".join(f"`{column}` = {_literal(value)}" for column, value in where.items())
        self._overwrite(self._stamped(rows), condition)

    def _overwrite(self, rows: pa.Table, condition: str, commit: CommitProperties | None = None) -> None:
        with self._checked():
            write_deltalake(
                self.folder,
                rows,
                mode="overwrite",
                predicate=condition,
                writer_properties=_WRITER,
                commit_properties=commit,
                post_commithook_properties=_HOOKS,
            )

    def touch(self, rows: pa.Table, column: str) -> None:
        """Set a column of stored rows, in a commit that counts as maintenance.

        Args:
            rows: Key and column.
            column: An audit column.
        """
        self._merger(rows, {}, _AS_MAINTENANCE).when_matched_update({column: f"s.`{column}`"}).execute()

    def maintain(self, retain_hours: int, expired: str | None) -> dict[str, int]:
        """Delete expired rows, compact small files and remove files that no version of the last hours needs.

        Args:
            retain_hours: Versions of so many last hours stay readable.
            expired: SQL condition of rows that are deleted; None deletes nothing.

        Returns:
            See `Lakehouse.maintain`.
        """
        table, num_expired = DeltaTable(self.folder), 0
        if expired is not None:
            asked = QueryBuilder().register("t", table).execute(f"SELECT count(*) AS num FROM t WHERE {expired}")
            num_expired = pa.table(asked.read_all())["num"][0].as_py()
        if num_expired:
            # Not by `delete`: it would write what stays as string_view, which filters of pyarrow do not know.
            self._overwrite(self._schema.empty_table(), str(expired), _AS_MAINTENANCE)
            table = DeltaTable(self.folder)
        compacted = table.optimize.compact(writer_properties=_WRITER, post_commithook_properties=_HOOKS)
        # Even one that removes nothing is written into the log.
        if table.vacuum(retain_hours, dry_run=True, full=True):
            table.vacuum(retain_hours, dry_run=False, full=True, post_commithook_properties=_HOOKS)
        return {"rows_expired": num_expired, "files_compacted": compacted["numFilesRemoved"]}

    def _merger(
        self, rows: pa.Table, where: Mapping[str, str | date], commit: CommitProperties | None = None
    ) -> TableMerger:
        conditions = [f"t.`{key}` = s.`{key}`" for key in self.contract.key]
        conditions += [f"t.`{column}` = {_literal(value)}" for column, value in where.items()]
        return DeltaTable(self.folder).merge(
            rows,
            " AND ".join(conditions),
            source_alias="s",
            target_alias="t",
            writer_properties=_WRITER,
            commit_properties=commit,
            post_commithook_properties=_HOOKS,
        )

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Name the constraints of the table where rows break one of them.

        Raises:
            ContractError: Then. Nothing is written.
        """
        try:
            yield
        except DeltaError as error:
            if _BROKEN not in str(error):
                raise
            required = ", ".join(column.name for column in self.contract.all_columns if column.required)
            checks = "; ".join(f"{check.name}: {check.condition}" for check in self.contract.checks) or "no others"
            found = str(error).partition(_BROKEN)
            raise ContractError(
                f"Table {self.contract.name}: {found[0].split()[-1]} rows break a constraint of its contract: not null "
                f"({required}), or {checks}. Nothing was written; what makes the rows must make others."
            ) from error

    def _compact(self) -> None:
        """Bring many small files of a table without partitions together; readers of changes see nothing of it.

        The rows are committed by then: where it fails, the files stay as they are until maintenance.
        """
        try:
            table = DeltaTable(self.folder)
            sizes = pa.table(table.get_add_actions(flatten=True))["size_bytes"].to_pylist()
            if not self.contract.partition_by and len(sizes) > MOST_READ and sum(sizes) <= MOST_TABLE_BYTES:
                table.optimize.compact(writer_properties=_WRITER, post_commithook_properties=_HOOKS)
        except (DeltaError, OSError) as error:
            _log.warning("table %s: its small files could not be brought together: %s", self.contract.name, error)


def _with_operation(rows: pa.Table, operations: pa.Array | pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.column_names.index(OPERATION), OPERATION, operations)


def _num_bytes(files: Sequence[str]) -> int:
    return sum(Path(file).stat().st_size for file in files)


def _literal(value: str | date) -> str:
    return "'" + str(value).replace("'", "''") + "'"
