"""The slices that were published last, and what they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from mmrec_lib.contracts.gold import CURRENT_SLICE
from mmrec_lib.contracts.table import SLICE_COLUMN
from mmrec_lib.lakehouse.tables import Lakehouse

_TABLE_VERSION = "table version"


@dataclass(frozen=True)
class PublishedSlice:
    """The slice of a published table that readers take.

    Attributes:
        day: Its date.
        version: Version of the model.
        input_hashes: See the table current_slice; empty where an earlier version of the library published it.
        table_version: Version of the table after it was written; None where it was not written down, or not yet.
    """

    day: date
    version: str
    input_hashes: Mapping[str, str]
    table_version: int | None = None


def published_slices(lakehouse: Lakehouse) -> dict[str, PublishedSlice]:
    """The slices that were published last, by table."""
    rows = lakehouse.read("current_slice").select("table_name", SLICE_COLUMN, "model_version", "input_hashes").collect()
    found = {}
    for name, day, version, stored in rows:
        hashes = dict(stored or {})
        table_version = hashes.pop(_TABLE_VERSION, None)
        found[name] = PublishedSlice(day, version, hashes, None if table_version is None else int(table_version))
    return found


def name_slices(lakehouse: Lakehouse, slices: Mapping[str, PublishedSlice]) -> None:
    """Name the slices that readers should take, in one commit; to be called after all of them were written."""
    versions = lakehouse.data_versions(tuple(slices))
    rows = [
        # A table that never had a row has no version.
        (
            name,
            new.day,
            new.version,
            {**new.input_hashes, **({} if versions[name] is None else {_TABLE_VERSION: str(versions[name])})},
        )
        for name, new in slices.items()
    ]
    lakehouse.merge("current_slice", lakehouse.spark.createDataFrame(rows, CURRENT_SLICE.input_schema))
