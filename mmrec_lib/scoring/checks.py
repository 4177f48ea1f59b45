"""Checks of new lists before they take the place of the published ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from pydantic import Field, model_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, LongType, StringType, StructField, StructType

from mmrec_lib.contracts.table import SLICE_COLUMN
from mmrec_lib.errors import PublishingError
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.worker_files import WorkerFiles
from mmrec_lib.location import filesystem_of
from mmrec_lib.scoring.list_rules import (
    COUNTED,
    ENTRIES,
    LIST_RULES,
    LISTS,
    NUM_EXAMPLES,
    SHORT,
    Finding,
    KnownItems,
    check_all,
)
from mmrec_lib.scoring.published import PublishedSlice, published_slices
from mmrec_lib.section import Section

_FOUND = StructType(
    [
        StructField("rule", StringType()),
        StructField("num_rows", LongType()),
        StructField("user_ids", ArrayType(StringType())),
        StructField("values", ArrayType(StringType())),
    ]
)
_TOLD = ("probabilities", "expected_values", "expected_worths")
_USER_RULES = {
    "user_twice": "stand more than once in the new lists",
    "user_missing": "are known and have no row in the new lists, not even one with an empty list",
    "user_unknown": "are in the new lists and unknown",
}


class ChecksConfig(Section):
    """Bounds of what may take the place of the published lists; what no bound can allow is always checked.

    Attributes:
        max_catalogue_shrink: Share of its items that the catalogue may lose against the published one; 1 allows all.
        max_short_share: Share of users that may have fewer than k items, also none.
        min_changed_share: Share of entries (user and item) that must differ from the published lists, of the side that
            has more; null does not compare. It is not asked of a run that replaces the lists of its own date.
        max_changed_share: Share of entries that may differ; null does not compare. Comparing reads the published lists
            once.
    """

    max_catalogue_shrink: float = Field(default=0.3, ge=0, le=1)
    max_short_share: float = Field(default=1.0, ge=0, le=1)
    min_changed_share: float | None = Field(default=None, ge=0, le=1)
    max_changed_share: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> ChecksConfig:
        low, high = self.min_changed_share, self.max_changed_share
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_changed_share {low} is above max_changed_share {high}, so that nothing could pass")
        return self


@dataclass(frozen=True)
class KeptLists:
    """Published lists that stay as they are.

    Attributes:
        num_lists: Lists, also empty ones.
        num_entries: Their entries.
        num_short: Lists with fewer than k items.
    """

    num_lists: int = 0
    num_entries: int = 0
    num_short: int = 0


NONE_KEPT = KeptLists()


@dataclass(frozen=True)
class NewLists:
    """Lists that were computed and are not published yet.

    Attributes:
        lists: One row a user: user_id, item_ids and scores (arrays, best first), and seen_item_ids, which the scoring
            carried along.
        profiles: The known users whose lists these are: user_id.
        items: The table item: item_id and available.
        as_of: Date of their slice.
        k: Items a user.
        is_sorted: False for lists that a second stage or re-ranking put into another order than that of their scores.
        kept: Published lists of the same date that stay beside them.
    """

    lists: WorkerFiles
    profiles: DataFrame
    items: DataFrame
    as_of: date
    k: int
    is_sorted: bool = True
    kept: KeptLists = NONE_KEPT


def check_before_publishing(lakehouse: Lakehouse, new: NewLists, config: ChecksConfig) -> dict[str, int]:
    """Check new lists of user_topk as a whole; to be called after they were staged and before the first table changes.

    Args:
        lakehouse: Reads the published slices: user_topk and current_slice.
        new: What would be published.
        config: Bounds.

    Returns:
        `lists`, `entries`, and how many lists are `short` (fewer than k items) and `empty`, those that stay included.

    Raises:
        PublishingError: When a rule is broken. It names each rule, how many rows break it and the first of them.
    """
    frame = new.lists.frame(lakehouse.spark)
    broken = [_told(sentence, finding, "users") for sentence, finding in _check_users(frame, new.profiles).items()]
    found = _check_lists(lakehouse, new)
    broken += [_told(text, found[rule], "lists") for rule, text in LIST_RULES.items() if rule in found]
    counts = {name: found[name].num_rows if name in found else 0 for name in COUNTED}
    kept = {LISTS: new.kept.num_lists, ENTRIES: new.kept.num_entries, SHORT: new.kept.num_short}
    counts |= {name: counts[name] + number for name, number in kept.items()}
    short = counts[SHORT] / max(counts[LISTS], 1)
    if short > config.max_short_share:
        broken.append(
            f"{counts[SHORT]} of {counts[LISTS]} lists ({short:.1%}) have fewer than k = {new.k} items, "
            f"{counts['empty']} of them none; scoring.checks.max_short_share allows {config.max_short_share:.1%}"
        )
    if counts[LISTS] and not counts[ENTRIES] and published_slices(lakehouse).get("user_topk") is not None:
        broken.append(f"all of {counts[LISTS]} lists are empty, and lists with items are published")
    if not broken:
        broken = _check_changes(lakehouse, new, counts[ENTRIES], config)
    if broken:
        raise PublishingError(
            f"The new lists were not published, and the published ones stay: {'; '.join(broken)}. Every known user "
            "needs one list of at most k different items that are known, available and not seen, with finite scores, "
            "best first. Where a bound is too narrow, change it; else correct items, profiles or model and score again."
        )
    return counts


def _told(text: str, finding: Finding, what: str) -> str:
    shown = ", ".join(f"user {user!r}{f' with {value}' if value else ''}" for user, value in finding.examples)
    more = ", ..." if finding.num_rows > len(finding.examples) else ""
    return f"{finding.num_rows} {what} {text} ({shown}{more})"


def check_catalogue(
    lakehouse: Lakehouse, num_items: int, published: PublishedSlice | None, config: ChecksConfig
) -> None:
    """Check the size of a catalogue against that of the published one, before anybody is scored.

    Args:
        lakehouse: Reads item_vector.
        num_items: Items of the catalogue.
        published: The published slice of item_vector; None where none was published.
        config: Bounds.

    Raises:
        PublishingError: When it lost more than the configured share of its items.
    """
    if config.max_catalogue_shrink >= 1 or published is None:
        return
    before = lakehouse.read("item_vector").where(F.col("model_version") == published.version).count()
    if before - num_items > config.max_catalogue_shrink * before:
        raise PublishingError(
            f"The new lists were not published, and the published ones stay: the catalogue has {num_items} items, and "
            f"had {before} when it was last published, which is {1 - num_items / before:.1%} less; "
            f"scoring.checks.max_catalogue_shrink allows {config.max_catalogue_shrink:.1%}. Deliver the items again if "
            "some are missing, or set the key to 1 for one run if they are gone for good."
        )


def _check_users(lists: DataFrame, profiles: DataFrame) -> dict[str, Finding]:
    """Users that do not stand exactly once on both sides, by the sentence that says so; reads ids only."""
    listed = lists.select("user_id", F.lit(1).alias("listed"), F.lit(0).alias("known"))
    known = profiles.select("user_id", F.lit(0).alias("listed"), F.lit(1).alias("known"))
    sums = (
        listed.unionByName(known).groupBy("user_id").agg(F.sum("listed").alias("listed"), F.max("known").alias("known"))
    )
    conditions = {
        "user_twice": F.col("listed") > 1,
        "user_missing": F.col("listed") == 0,
        "user_unknown": F.col("known") == 0,
    }
    counts = sums.agg(*[F.count_if(condition).alias(rule) for rule, condition in conditions.items()]).collect()[0]
    found = {}
    for rule, condition in conditions.items():
        if counts[rule]:
            first = sums.where(condition).select("user_id").orderBy("user_id").limit(NUM_EXAMPLES).collect()
            found[_USER_RULES[rule]] = Finding(counts[rule], [(str(row["user_id"]), "") for row in first])
    return found


def _check_lists(lakehouse: Lakehouse, new: NewLists) -> dict[str, Finding]:
    """Find what breaks a rule of `list_rules` in all lists, in one pass by the workers."""
    uri = lakehouse.stage_path("known_items", new.items.select("item_id", "available"))
    told = [name for name in _TOLD if name in new.lists.schema.names]
    k, is_sorted = new.k, new.is_sorted

    def check(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield check_all(batches, _load_items(uri), k, is_sorted=is_sorted)

    found: dict[str, Finding] = {}
    columns = ["user_id", "item_ids", "scores", "seen_item_ids", *told]
    for row in new.lists.map_in_workers(lakehouse.spark, columns, check, _FOUND).collect():
        finding = Finding(row["num_rows"], list(zip(row["user_ids"], row["values"], strict=True)))
        found.setdefault(row["rule"], Finding(0, [])).add(finding)
    return found


@lru_cache(maxsize=1)
def _load_items(uri: str) -> KnownItems:
    """The staged item table, read once a worker process."""
    fs, root = filesystem_of(uri)
    table = pyarrow.dataset.dataset(root, filesystem=fs, format="parquet").to_table().combine_chunks()
    available = table["available"].fill_null(False).to_numpy().astype(np.bool_)
    return KnownItems(pa.concat_arrays(table["item_id"].chunks or [pa.array([], pa.string())]), available)


def _check_changes(lakehouse: Lakehouse, new: NewLists, num_entries: int, config: ChecksConfig) -> list[str]:
    """Compare entries with the published ones, where a bound asks for it."""
    if config.min_changed_share is None and config.max_changed_share is None:
        return []
    published = published_slices(lakehouse).get("user_topk")
    if published is None:
        return []
    day, version = published.day, published.version
    before = lakehouse.read("user_topk").where(F.col(SLICE_COLUMN) == F.lit(day))
    lists_before = before.groupBy("user_id").agg(F.collect_list("item_id").alias("before"))
    both = new.lists.frame(lakehouse.spark).select("user_id", "item_ids").join(lists_before, "user_id", "right")
    sums = both.agg(
        F.sum(F.coalesce(F.size(F.array_intersect("item_ids", "before")), F.lit(0))), F.sum(F.size("before"))
    ).collect()[0]
    common, num_before = (sums[0] or 0) + new.kept.num_entries, sums[1] or 0
    # Of the longer side, so that entries that are gone count as those that came.
    changed = 1 - common / max(num_entries, num_before, 1)
    told = f"{changed:.1%} of the entries are not in the published lists (of {day}, model version {version}) as well; "
    if config.max_changed_share is not None and changed > config.max_changed_share:
        return [f"{told}scoring.checks.max_changed_share allows {config.max_changed_share:.1%}"]
    is_other_day = day != new.as_of
    if config.min_changed_share is not None and changed < config.min_changed_share and is_other_day:
        return [f"{told}scoring.checks.min_changed_share asks for {config.min_changed_share:.1%}"]
    return []
