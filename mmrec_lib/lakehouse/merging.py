"""Merging: the difference between the rows that a table has and those that it should have, and SQL that brings it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

import pyarrow.dataset
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.table import TableContract
from mmrec_lib.lakehouse.ddl import quoted
from mmrec_lib.location import filesystem_of

OPERATION = "_mmrec_op"
"""Column of a change: insert, update or delete."""

_HAVE = "_have"
# More changes than that are counted by Spark.
_COUNTED_HERE = 100_000


@dataclass(frozen=True)
class WriteResult:
    """Rows that a write changed; `committed` is False when nothing differed and no commit was made."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def committed(self) -> bool:
        """True when the table changed."""
        return bool(self.inserted or self.updated or self.deleted)

    @property
    def only_inserted(self) -> bool:
        """True when rows came and none that was there changed: adding them is all there is to do."""
        return bool(self.inserted) and not (self.updated or self.deleted)


@dataclass(frozen=True)
class Staged:
    """Rows that lie in this run's staging folder or a table, or follow from such rows by columns and filters alone.

    They cost little to read again, so a table takes them as they are, and they are written once more only into it.

    Attributes:
        rows: The frame.
        num_rows: How many they are, where it is known; else they are counted where that matters.
    """

    rows: DataFrame
    num_rows: int | None = None


@dataclass(frozen=True)
class StoredKeys:
    """Rows of a slice that some users or items have, as `Lakehouse.stored_keys` finds them.

    Attributes:
        name: The table.
        rows: Their keys with the hash of their content, see `hashes`; staged.
        where: The slice.
        owners: The users or items, also those without a row: some columns of the table's key.
    """

    name: str
    rows: DataFrame
    where: Mapping[str, str | date]
    owners: DataFrame


def hashes(stored: DataFrame, contract: TableContract) -> DataFrame:
    """Keys of stored rows with the hash of their content."""
    return stored.select(*contract.key, F.col("row_hash").alias(_HAVE))


def differing(new: DataFrame, have: DataFrame, contract: TableContract, delete_keys: DataFrame | None) -> DataFrame:
    """The rows by which a table changes: new ones, others under a known key, and keys that go.

    Args:
        new: The rows that it should have, see `conform`; only their keys and hashes will do, too.
        have: See `hashes`.
        contract: The table.
        delete_keys: Keys that go unless they are in `new`.

    Returns:
        The columns of `new` and `OPERATION`; of what is deleted only the key is filled.
    """
    keys = list(contract.key)
    changed = (
        new.join(have, keys, "left")
        .where(F.col(_HAVE).isNull() | (F.col(_HAVE) != F.col("row_hash")))
        .withColumn(OPERATION, F.when(F.col(_HAVE).isNull(), F.lit("insert")).otherwise(F.lit("update")))
        .drop(_HAVE)
    )
    if delete_keys is None:
        return changed
    gone = delete_keys.select(*keys).distinct().join(have, keys, "left_semi").join(new, keys, "left_anti")
    return changed.unionByName(gone.withColumn(OPERATION, F.lit("delete")), allowMissingColumns=True)


def completed(changes: DataFrame, new: DataFrame, contract: TableContract) -> DataFrame:
    """The rows by which a table changes, in full, of changes that hold keys, hashes and `OPERATION` only.

    The hash is part of the join: what is written is what was compared.
    """
    return changes.join(new, [*contract.key, "row_hash"], "left")


def count_changes(changes: DataFrame, contract: TableContract, path: str | None) -> WriteResult:
    """Count the rows that come, change and go.

    Args:
        changes: Rows with the key and `OPERATION`.
        contract: The table.
        path: Folder where the changes are staged: a few are counted there without a Spark job. None: not staged.

    Raises:
        ValueError: When a key is there twice.
    """
    keys = list(contract.key)
    counts = _counted_in_files(path, keys) if path is not None else None
    counts = _counted(changes, keys) if counts is None else counts
    for num_rows, num_keys in counts.values():
        if num_rows != num_keys:
            raise ValueError(
                f"rows for {contract.name} hold {num_rows - num_keys} keys twice; deduplicate by {keys} first"
            )
    return WriteResult(*(counts.get(operation, (0, 0))[0] for operation in ("insert", "update", "delete")))


def _counted(changes: DataFrame, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Rows, and different keys among them, of each operation."""
    counted = changes.groupBy(OPERATION).agg(
        F.count(F.lit(1)).alias("rows"), F.countDistinct(F.struct(*keys)).alias("keys")
    )
    return {row[OPERATION]: (row["rows"], row["keys"]) for row in counted.collect()}


def _counted_in_files(path: str, keys: Sequence[str]) -> dict[str, tuple[int, int]] | None:
    """The same, counted in this process; None when there are too many."""
    fs, root = filesystem_of(path)
    found = pyarrow.dataset.dataset(root, filesystem=fs, format="parquet")
    num_rows = found.count_rows()
    if num_rows > _COUNTED_HERE:
        return None
    counts: dict[str, tuple[int, int]] = {}
    by_key = found.to_table([OPERATION, *keys]).group_by([OPERATION, *keys]).aggregate([([], "count_all")])
    for operation, num in zip(by_key[OPERATION].to_pylist(), by_key["count_all"].to_pylist(), strict=True):
        rows, different = counts.get(operation, (0, 0))
        counts[operation] = (rows + num, different + 1)
    return counts


def merge_statement(
    contract: TableContract, identifier: str, view: str, where: Mapping[str, str | date], *, inserts: bool = True
) -> str:
    """MERGE of changes into a table.

    Args:
        contract: The table.
        identifier: Its SQL identifier.
        view: View of the changes; see `differing`.
        where: Slice that they lie in; the files of others are not looked at. Empty is the whole table.
        inserts: False where no row comes: then Delta may send a few changes to the files that hold their rows, instead
            of shuffling all rows of these files.
    """
    names = contract.schema.names
    in_slice = [f"t.`{column}` = {quoted(str(value))}" for column, value in where.items()]
    on = " AND ".join([*(f"t.`{key}` = s.`{key}`" for key in contract.key), *in_slice])
    columns = ", ".join(f"`{name}`" for name in names)
    values = ", ".join(f"s.`{name}`" for name in names)
    updates = ", ".join(f"t.`{name}` = s.`{name}`" for name in names)
    inserted = f"\nWHEN NOT MATCHED AND s.{OPERATION} <> 'delete' THEN INSERT ({columns}) VALUES ({values})"
    return (
        f"MERGE INTO {identifier} t USING {view} s ON {on}\n"
        f"WHEN MATCHED AND s.{OPERATION} = 'delete' THEN DELETE\n"
        f"WHEN MATCHED THEN UPDATE SET {updates}{inserted if inserts else ''}"
    )


def compare_slice(new: DataFrame, have: DataFrame, contract: TableContract) -> WriteResult:
    """Count the rows that come, change and go when a slice is replaced.

    Args:
        new: The rows that it should have, see `conform`.
        have: Of the rows that it has; see `hashes`.
        contract: The table.
    """
    keys = list(contract.key)
    both = new.select(*keys, "row_hash").join(have, keys, "full")
    sums = both.agg(
        F.count_if(F.col(_HAVE).isNull()).alias("inserted"),
        F.count_if(F.col(_HAVE) != F.col("row_hash")).alias("updated"),
        F.count_if(F.col("row_hash").isNull()).alias("deleted"),
    ).collect()[0]
    return WriteResult(sums["inserted"], sums["updated"], sums["deleted"])


def in_slice(where: Mapping[str, str | date]) -> Column:
    """Condition of the rows of a slice."""
    return reduce(lambda a, b: a & b, [F.col(column) == F.lit(value) for column, value in where.items()])


def slice_condition(where: Mapping[str, str | date]) -> str:
    """The same as SQL."""
    return " AND ".join(f"`{column}` = {quoted(str(value))}" for column, value in where.items())
