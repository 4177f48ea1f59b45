"""Writing tables: the only code that commits to Delta."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import DataFrame, DataFrameWriter
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.table import SLICE_COLUMN, TableContract
from mmrec_lib.lakehouse.commits import MAINTENANCE
from mmrec_lib.lakehouse.creation import create_table
from mmrec_lib.lakehouse.ddl import conform
from mmrec_lib.lakehouse.deletion_vectors import enable_deletion_vectors, purge_deleted
from mmrec_lib.lakehouse.evolution import evolve, is_current
from mmrec_lib.lakehouse.merging import (
    OPERATION,
    Staged,
    WriteResult,
    compare_slice,
    completed,
    count_changes,
    counted,
    differing,
    hashes,
    in_slice,
    marked,
    merge_statement,
    slice_condition,
    touch_statement,
)
from mmrec_lib.lakehouse.reads import StoreTables, nullable
from mmrec_lib.lakehouse.session_settings import with_settings
from mmrec_lib.lakehouse.staging import read_parquet

if TYPE_CHECKING:
    from mmrec_lib.lakehouse.driver_table import DriverTable


class Lakehouse(StoreTables):
    """The tables of one store, as one run sees them."""

    def ensure(self, name: str) -> None:
        """Create the table if it is missing; else bring columns and constraints to what its contract has now."""
        if name in self._ensured:
            return
        contract, was_there = CONTRACTS[name], self.exists(name)
        has_rows = self.data_version(name) is not None
        if not has_rows:
            # Also when a killed run made the table and no more.
            here = self._driver_table(name)
            if here is not None:
                here.create()
            else:
                create_table(self.spark, contract, self.table(name), self._location.folder(name))
        if (has_rows or was_there) and not is_current(self._location.schema(name), contract):
            evolve(self.spark, contract, self.table(name), self._location.load(name))
        self._ensured.add(name)

    def mark_deleted_rows(self, *names: str) -> None:
        """Let tables have deletion vectors from now on, see `deletion_vectors`; their readers must know them."""
        for name in names:
            self.ensure(name)
            enable_deletion_vectors(self.spark, self.table(name))

    def merge(self, name: str, rows: DataFrame | Staged, *, delete_keys: DataFrame | None = None) -> WriteResult:
        """Bring a keyed table to contain `rows`, in one commit or none.

        Args:
            name: Table.
            rows: The contract's content columns, one row a key. Computed twice when the table is empty, else once;
                staged ones are read again instead.
            delete_keys: Key columns of rows to remove; a key that is also in `rows` stays.

        Returns:
            What changed. Nothing is committed when every row is there already with the same content.

        Raises:
            ValueError: When `rows` holds a key twice.
        """
        return self._merge(name, rows, stored=self.read(name), delete_keys=delete_keys, where={})

    def replace_keys(
        self, name: str, rows: Staged, where: Mapping[str, str | date], replaced: DataFrame
    ) -> WriteResult:
        """Make a slice hold exactly `rows` of some users or items and leave all others, in one commit or none.

        Only files that hold a row that changes are written again.

        Args:
            name: Table.
            rows: The contract's content columns; every row lies in the slice and has one of the keys.
            where: The slice, see `replace_slice`.
            replaced: Some columns of the table's key, such as user_id, one row for each user.

        Raises:
            ValueError: When `rows` holds a key twice.
        """
        stored = self.read(name).where(in_slice(where)).join(replaced, replaced.columns, "left_semi")
        return self._merge(name, rows, stored=stored, delete_keys=stored, where=where)

    def _merge(
        self,
        name: str,
        rows: DataFrame | Staged,
        *,
        stored: DataFrame,
        delete_keys: DataFrame | None,
        where: Mapping[str, str | date],
    ) -> WriteResult:
        """Write the difference between rows and stored ones, which lie in a slice where one is given."""
        contract, is_staged = CONTRACTS[name], isinstance(rows, Staged)
        new = conform(rows.rows if isinstance(rows, Staged) else rows, contract)
        is_fresh = self.data_version(name) is None
        if (here := self._driver_table(name)) is not None and (
            self._can_add(here) if is_fresh else self._can_change(here)
        ):
            few, both = self._few(here, marked(new, delete_keys, contract), is_staged=is_staged)
            if few is not None:
                changes = here.differing(few, where, is_empty=is_fresh)
                return self._committed_here(name, counted(changes), lambda: here.change(changes, where))
            if not is_staged:
                new, is_staged = both.where(F.col(OPERATION).isNull()).drop(OPERATION), True
                delete_keys = None if delete_keys is None else both.where(F.col(OPERATION).isNotNull())
        if is_fresh:
            path, changed = None, new.withColumn(OPERATION, F.lit("insert"))
        else:
            # What changed is little; counting it, and a MERGE that reads its source twice, must not compare again.
            compared = new.select(*contract.key, "row_hash") if is_staged else new
            changed = differing(compared, hashes(stored, contract), contract, delete_keys)
            path = self.stage_path(f"changes_{name}", changed)
            changed = read_parquet(self.spark, nullable(changed.schema), [path])
        result = count_changes(changed, contract, path)
        if not result.committed:
            return result
        self.ensure(name)
        rows_changed = completed(changed, new, contract) if is_staged and not is_fresh else changed
        if is_fresh or result.only_inserted:
            self._append(name, rows_changed)
        else:
            self._merge_changes(contract, rows_changed, where, inserts=bool(result.inserted))
        return result

    def _driver_table(self, name: str) -> DriverTable | None:
        """A table to which this process can commit: one in a local folder, in a session for small tables."""
        folder = self._location.driver_folder(name)
        if folder is None:
            return None
        # Clusters have no delta-rs: their session commits.
        from mmrec_lib.lakehouse.delta_rs import has_links
        from mmrec_lib.lakehouse.driver_table import DriverTable

        # Where tables lie is there before the first of them.
        place = Path(folder).parent
        place.mkdir(parents=True, exist_ok=True)
        if not has_links(str(place)):
            return None
        return DriverTable(CONTRACTS[name], folder, self.run_id, self.written_at)

    def _can_add(self, here: DriverTable) -> bool:
        """Tell if rows may be added in this process: to a table that it makes, or whose log it knows all of."""
        name = here.contract.name
        return not self.exists(name) or here.can_add(self._location.listed(name))

    def _can_change(self, here: DriverTable) -> bool:
        """Tell if rows of a table that has some may be compared and changed in this process."""
        listed = self._location.listed(here.contract.name)
        return listed is not None and is_current(listed.schema, here.contract) and here.can_change(listed)

    def _few(self, here: DriverTable, rows: DataFrame, *, is_staged: bool) -> tuple[pa.Table | None, DataFrame]:
        """Rows for a table in this process if they are few, and a frame of them that is not computed again.

        What is staged already is written nowhere else.
        """
        if is_staged:
            return here.collected(rows), rows
        path = self.stage_path(f"rows_{here.contract.name}", rows)
        return here.staged(path), read_parquet(self.spark, nullable(rows.schema), [path])

    def _committed_here(self, name: str, result: WriteResult, commit: Callable[[], None]) -> WriteResult:
        """Commit in this process where something changes."""
        if result.committed:
            self.ensure(name)
            commit()
            self._versions.pop(name, None)
        return result

    def append(self, name: str, rows: DataFrame) -> None:
        """Add rows whose keys only this run can have made, in one commit; nothing is compared.

        Args:
            name: Table.
            rows: The contract's content columns.
        """
        self.ensure(name)
        new = conform(rows, CONTRACTS[name])
        if (here := self._driver_table(name)) is not None and self._can_add(here):
            few, new = self._few(here, new, is_staged=False)
            if few is not None:
                here.append(few)
                self._versions.pop(name, None)
                return
        self._append(name, new)

    def _stamped(self, rows: DataFrame, contract: TableContract, *more: str) -> DataFrame:
        """All columns of a table, audit columns of this run among them, and further ones of `rows`."""
        stamps = {"run_id": F.lit(self.run_id), "written_at": F.lit(self.written_at)}
        named = [stamps[name].alias(name) if name in stamps else F.col(name) for name in contract.schema.names]
        return rows.select(*named, *more)

    def _append(self, name: str, rows: DataFrame) -> None:
        self._save(name, self._stamped(rows, CONTRACTS[name]).write.format("delta").mode("append"))

    def _save(self, name: str, writer: DataFrameWriter) -> None:
        self._location.save(writer, name)
        self._versions.pop(name, None)

    def _merge_changes(
        self, contract: TableContract, changes: DataFrame, where: Mapping[str, str | date], *, inserts: bool
    ) -> None:
        with _view(self._stamped(changes, contract, OPERATION), contract.name) as view:
            self.spark.sql(merge_statement(contract, self.table(contract.name), view, where, inserts=inserts))
        self._versions.pop(contract.name, None)

    def replace_slice(self, name: str, rows: DataFrame | Staged, where: Mapping[str, str | date]) -> WriteResult:
        """Make a slice of a table consist of exactly `rows`, atomically, in one commit or none.

        Args:
            name: Table.
            rows: The contract's content columns; every row lies in the slice. Staged here, so computed once, unless
                they are staged already.
            where: Column and value pairs that define the slice, such as `{"as_of_date": date(2025, 10, 1)}`.
        """
        contract = CONTRACTS[name]
        self.ensure(name)
        listed, here = self._location.listed(name), self._driver_table(name)
        is_new = listed is not None and not listed.may_hold(where)
        new = conform(rows.rows if isinstance(rows, Staged) else rows, contract)
        if here is not None and (here.can_add(listed) if is_new else here.can_change(listed)):
            few, new = self._few(here, new, is_staged=isinstance(rows, Staged))
            if few is not None:
                result = WriteResult(inserted=len(few)) if is_new else here.compared(few, where)
                write = here.append if is_new else partial(here.replace, where=where)
                return self._committed_here(name, result, lambda: write(few))
        elif not isinstance(rows, Staged):
            new = self.stage(name, new)
        if is_new:
            result = WriteResult(inserted=new.count())
        else:
            result = compare_slice(new, hashes(self.read(name).where(in_slice(where)), contract), contract)
        if not result.committed:
            return result
        if is_new:
            self._append(name, new)
        else:
            writer = self._stamped(new, contract).write.format("delta").mode("overwrite")
            self._save(name, writer.option("replaceWhere", slice_condition(where)))
        return result

    def touch(self, name: str, rows: DataFrame, column: str) -> None:
        """Set an audit column of stored rows. Readers of the content are not told: for them nothing has changed.

        Args:
            name: Table.
            rows: Its key, each once, and the column.
            column: An audit column.

        Raises:
            ValueError: When the column is content.
        """
        contract = CONTRACTS[name]
        if column in contract.content_columns:
            raise ValueError(f"{name}.{column} is content; merge it")
        new = rows.select(*contract.key, column)
        if (here := self._driver_table(name)) is not None and self._can_change(here):
            few, new = self._few(here, new, is_staged=False)
            if few is not None:
                here.touch(few, column)
                return
        with self._as_maintenance(), _view(new, name) as view:
            self.spark.sql(touch_statement(contract, self.table(name), view, column))

    def maintain(self, name: str, retain_hours: int, expired_before: datetime | None) -> dict[str, int]:
        """Delete expired rows, compact small files and remove files that no version of the last hours needs.

        Args:
            name: Table.
            retain_hours: Versions of so many last hours stay readable.
            expired_before: Rows whose retention column is older are deleted, but never those of the current slice;
                None deletes nothing.

        Returns:
            `{"rows_expired", "files_compacted"}`. None of it counts as a change of rows for readers.
        """
        condition = None
        if expired_before is not None:
            condition = f"`{CONTRACTS[name].retention_column}` < '{expired_before:%Y-%m-%d}'"
            current = self.current_slice(name) if CONTRACTS[name].has_slices else None
            if current is not None:
                condition += f" AND `{SLICE_COLUMN}` <> '{current}'"
        if (here := self._driver_table(name)) is not None and here.can_change(self._location.listed(name)):
            return here.maintain(retain_hours, condition)
        identifier, num_expired = self.table(name), 0
        if condition is not None and (num_expired := self.read(name).where(condition).count()):
            with self._as_maintenance():
                self.spark.sql(f"DELETE FROM {identifier} WHERE {condition}")
        compacted = self.spark.sql(f"OPTIMIZE {identifier}").select("metrics.numFilesRemoved").collect()[0][0]
        purge_deleted(self.spark, identifier)
        self.spark.sql(f"VACUUM {identifier} RETAIN {retain_hours} HOURS")
        return {"rows_expired": num_expired, "files_compacted": int(compacted or 0)}

    def _as_maintenance(self) -> AbstractContextManager[None]:
        """Inside the block commits count as maintenance: readers of rows need not run again for them."""
        return with_settings(self.spark, {"spark.databricks.delta.commitInfo.userMetadata": MAINTENANCE})


@contextmanager
def _view(rows: DataFrame, name: str) -> Iterator[str]:
    """A view of rows under a name of its own, for a statement."""
    view = f"mmrec_{name}_{uuid.uuid4().hex}"
    rows.createOrReplaceTempView(view)
    try:
        yield view
    finally:
        rows.sparkSession.catalog.dropTempView(view)
