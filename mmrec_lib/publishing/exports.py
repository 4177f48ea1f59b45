"""The current lists in files for key-value stores: one row a key, a folder a publishing, a manifest beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.table import SLICE_COLUMN
from mmrec_lib.errors import ConfigError, NoDataError
from mmrec_lib.files import write_text_atomic
from mmrec_lib.lakehouse.exports import Format, remove_folder, write_files
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.location import absolute, is_uri
from mmrec_lib.publishing.slices import current_rows
from mmrec_lib.section import Section

MANIFEST, LATEST = "manifest.json", "latest.json"
READS = ("user_topk", "item_neighbor", "current_slice", "item_topk", "audience_topk", "current_list_slice")


@dataclass(frozen=True)
class ListColumns:
    """Columns of a table that holds one entry of a list a row.

    Attributes:
        prefix: Begins the keys of its lists, so that those of several tables share a store; None where the list type
            does.
        owner: Column of whom the list belongs to.
        item: Column of the listed item.
        score: Score of an entry.
        version: Column that names what the lists were made with.
    """

    prefix: str | None
    owner: str
    item: str
    score: str = "score"
    version: str = "model_version"


LISTS: Mapping[str, ListColumns] = {
    "user_topk": ListColumns("user", "user_id", "item_id"),
    "item_neighbor": ListColumns("item", "item_id", "neighbor_id", score="similarity"),
    "item_topk": ListColumns(None, "item_id", "related_item_id", version="snapshot_id"),
    "audience_topk": ListColumns(None, "audience", "item_id", version="snapshot_id"),
}


class ExportConfig(Section):
    """Settings of the job `export_lists`, which runs when somebody starts or schedules it.

    Attributes:
        folder: Where exports go, a folder of this machine or a volume; null is `export` beside report.html.
        tables: Published tables to export.
        formats: `parquet`, `jsonl` (JSON Lines) or both.
        keep: Exports of each table and format that stay, the newest included, so that a loader may finish an older one.
    """

    folder: str | None = None
    tables: tuple[Literal["user_topk", "item_neighbor", "item_topk", "audience_topk"], ...] = Field(
        default=("user_topk", "item_neighbor"), min_length=1
    )
    formats: tuple[Format, ...] = Field(default=("parquet", "jsonl"), min_length=1)
    keep: int = Field(default=2, ge=1)

    @field_validator("folder")
    @classmethod
    def _on_this_machine(cls, value: str | None) -> str | None:
        if value is not None and is_uri(value):
            raise ValueError(
                "export.folder needs a folder of this machine, such as /Volumes/…, because latest.json is replaced"
            )
        return value if value is None else absolute(value, expand_home=True)


def lists_by_key(lakehouse: Lakehouse, name: str) -> DataFrame:
    """The current lists of a published table in array form: one row a key, best first.

    Args:
        lakehouse: Tables.
        name: Table of `LISTS`.

    Returns:
        key (such as `user:u1` or `trending:country=DE`), as_of_date, model_version (snapshot_id of lists without a
        model), items (array of text), scores (array of float64).
    """
    columns = LISTS[name]
    entry = F.struct("rank", F.col(columns.item).alias("item"), F.col(columns.score).alias("score"))
    prefix = F.col("list_type") if columns.prefix is None else F.lit(columns.prefix)
    grouped = (
        current_rows(lakehouse, name)
        .groupBy(F.concat(prefix, F.lit(":"), columns.owner).alias("key"), SLICE_COLUMN, columns.version)
        .agg(F.sort_array(F.collect_list(entry)).alias("entries"))
    )
    return grouped.select(
        "key",
        SLICE_COLUMN,
        columns.version,
        F.col("entries.item").alias("items"),
        F.col("entries.score").alias("scores"),
    )


def export_lists(lakehouse: Lakehouse, config: ExportConfig) -> dict[str, int]:
    """Write the current lists as files for others.

    Each export is a folder `<folder>/<table>/<format>/<date>-<version>-<run>` with its files and, written last,
    `manifest.json`; then `<folder>/<table>/<format>/latest.json`, a copy that also names the folder, is replaced in one
    step. Who reads `latest.json` first never meets half of an export, and older ones stay for a while.

    Returns:
        Lists of each table.

    Raises:
        NoDataError: When nothing was published yet.
    """
    counts: dict[str, int] = {}
    for name in config.tables:
        day = lakehouse.current_slice(name)
        lists = lists_by_key(lakehouse, name)
        version_column = LISTS[name].version
        version = None if day is None else _version(lists, version_column)
        if day is None or version is None:
            raise NoDataError(
                f"{name}: nothing was published yet, so that there is nothing to export. Run score_topk or "
                "score_lists first."
            )
        # Computed once for all formats.
        staged = lakehouse.stage(f"export_{name}", lists)
        counts[name] = staged.count()
        for form in config.formats:
            about = {
                "table": name,
                "format": form,
                "as_of_date": str(day),
                version_column: version,
                "rows": counts[name],
            }
            folder = export_folder(lakehouse, config) / name / form
            _export(staged, folder, f"{day}-{version}-{lakehouse.run_id}", about, lakehouse.run_id, config.keep)
    return counts


def export_folder(lakehouse: Lakehouse, config: ExportConfig) -> Path:
    """The folder of all exports.

    Raises:
        ConfigError: When the one beside the report is not on this machine.
    """
    place = config.folder or f"{lakehouse.store.publish_root}/export"
    if is_uri(place):
        raise ConfigError(f"export.folder: {place} is a URI; exports need a folder of this machine. Name one.")
    return Path(place)


def is_exported(lakehouse: Lakehouse, config: ExportConfig) -> bool:
    """Tell if every configured export has a newest one whose files are all there, in their size."""
    root = export_folder(lakehouse, config)
    return all(_is_whole(root / name / form) for name in config.tables for form in config.formats)


def _version(lists: DataFrame, column: str) -> str | None:
    row = lists.select(column).limit(1).collect()
    return str(row[0][0]) if row else None


def _export(rows: DataFrame, root: Path, name: str, about: Mapping[str, Any], run_id: str, keep: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    folder = root / name
    # A run that exports once more, such as one that failed after this, begins anew.
    remove_folder(str(folder))
    files = write_files(rows, str(folder), about["format"])
    manifest = {**about, "run_id": run_id, "files": [file.as_json() for file in files]}
    write_text_atomic(folder / MANIFEST, _json(manifest))
    write_text_atomic(root / LATEST, _json({"folder": folder.name, **manifest}))
    for old in expired(_finished(root), folder.name, keep):
        remove_folder(str(root / old))


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _finished(root: Path) -> list[tuple[int, str]]:
    """Exports of a folder that have a manifest, by the time of that; anything else there is not ours to remove."""
    manifests = [path for path in root.glob(f"*/{MANIFEST}") if not path.parent.is_symlink()]
    return [(path.stat().st_mtime_ns, path.parent.name) for path in manifests]


def expired(finished: Sequence[tuple[int, str]], newest: str, keep: int) -> list[str]:
    """Names of the exports to remove.

    Args:
        finished: Time and name of each.
        newest: The one that was just written, which stays whatever its time.
        keep: Number of those that stay.
    """
    others = [name for _, name in sorted(finished, reverse=True) if name != newest]
    return others[keep - 1 :]


def _is_whole(root: Path) -> bool:
    try:
        latest = json.loads((root / LATEST).read_text(encoding="utf-8"))
        folder = root / Path(latest["folder"]).name
        return all((folder / Path(file["name"]).name).stat().st_size == file["bytes_len"] for file in latest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
