"""Users whose lists would differ from the published ones, without scoring them.

A list follows from what all lists share (model, catalogue, rules, settings, code) and from what is known of its user.
While hashes of the former are those that were published, and the published tables are as that run left them, only users
are scored whose own hash differs. A run that was killed leaves other tables, so that the next one scores everyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.table import SLICE_COLUMN
from mmrec_lib.lakehouse.merging import StoredKeys, in_slice
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.scoring.checks import NONE_KEPT, KeptLists
from mmrec_lib.scoring.published import PublishedSlice

_KEPT, _SCORED, _GONE = "kept", "scored", "gone"


@dataclass(frozen=True)
class Affected:
    """Users of a run, by what happens to their lists.

    Attributes:
        profiles: Those to score, with a column input_hash.
        num_scored: How many they are.
        kept: What is known of the lists that stay.
        replaced: Rows of `user_topk` of those to score and of those that are gone; None where everyone is scored.
        reason: Reason why everyone is scored; None where only some are.
    """

    profiles: DataFrame
    num_scored: int
    kept: KeptLists = NONE_KEPT
    replaced: StoredKeys | None = None
    reason: str | None = None


def with_input_hash(profiles: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """Profiles with the hash of what a user's list follows from besides what all lists share, as column input_hash.

    Args:
        profiles: user_id, attributes, history, seen_item_ids; controls, where users have some; and last_search, where
            the model looks at it.
        attributes: Attributes that model and rules look at.
    """
    values = [F.try_element_at("attributes", F.lit(name)) for name in attributes]
    values += [F.col("history.item_id"), F.col("history.weight"), F.col("history.last_ts"), F.col("seen_item_ids")]
    if "controls" in profiles.columns:
        values.append(F.to_json("controls"))
    if "last_search" in profiles.columns:
        values.append(F.col("last_search"))
    # Null flags are hashed too, because xxhash64 passes over nulls.
    parts = [part for value in values for part in (value, value.isNull())]
    return profiles.withColumn("input_hash", F.xxhash64(*parts))


def score_everyone(profiles: DataFrame, reason: str) -> Affected:
    """All users, and the reason."""
    return Affected(profiles, profiles.count(), reason=reason)


def find_affected(
    lakehouse: Lakehouse,
    published: Mapping[str, PublishedSlice],
    profiles: DataFrame,
    new: Mapping[str, PublishedSlice],
    *,
    k: int,
) -> Affected:
    """Compare the hashes of users with those of the published vectors, where nothing else changed.

    Args:
        lakehouse: The store.
        published: The slices that were published last, by table.
        profiles: See `with_input_hash`.
        new: The slices of this run, by table.
        k: Items of a list.
    """
    reason = _reason_for_all(lakehouse, published, new)
    if reason is not None:
        return score_everyone(profiles, reason)
    before = lakehouse.read("user_vector").where(F.col("model_version") == new["user_vector"].version)
    both = profiles.select("user_id", "input_hash").join(
        before.select("user_id", F.col("input_hash").alias("_before")), "user_id", "full"
    )
    is_kept = F.col("input_hash") == F.col("_before")
    state = F.when(F.col("input_hash").isNull(), _GONE).when(is_kept, _KEPT).otherwise(_SCORED)
    states = lakehouse.stage("user_state", both.select("user_id", state.alias("state")))
    counts = {row["state"]: int(row["count"]) for row in states.groupBy("state").count().collect()}
    owners = states.where(F.col("state") != _KEPT).select("user_id")
    of_day = {SLICE_COLUMN: new["user_topk"].day}
    with lakehouse.many_rows(sum(counts.values()) * k):
        replaced = lakehouse.stored_keys("user_topk", of_day, owners)
    sums = [F.count(F.lit(1)), F.count_if(F.col("rank") == k)]
    # Of all lists only the rank is read: who has a row is asked once, for the rows that are replaced.
    every = lakehouse.read("user_topk").where(in_slice(of_day)).agg(*sums).collect()[0]
    gone = replaced.rows.agg(*sums).collect()[0]
    num_kept, num_entries, num_full = counts.get(_KEPT, 0), every[0] - gone[0], every[1] - gone[1]
    to_score = states.where(F.col("state") == _SCORED).select("user_id")
    return Affected(
        profiles=profiles.join(to_score, "user_id", "left_semi"),
        num_scored=counts.get(_SCORED, 0),
        kept=KeptLists(num_kept, num_entries, num_kept - num_full),
        replaced=replaced,
    )


def _reason_for_all(
    lakehouse: Lakehouse, published: Mapping[str, PublishedSlice], new: Mapping[str, PublishedSlice]
) -> str | None:
    """Reason why anyone's list may differ from the published one; None where that follows from the user alone."""
    for name, current in new.items():
        before = published.get(name)
        if before is None:
            return f"no {name} was published yet"
        if before.day != current.day:
            return f"the published {name} is of {before.day}"
        if before.version != current.version:
            return f"the published {name} is of model version {before.version}"
        parts = sorted({*current.input_hashes, *before.input_hashes})
        changed = [part for part in parts if current.input_hashes.get(part) != before.input_hashes.get(part)]
        if changed:
            return f"changed: {', '.join(changed)}"
        if before.table_version != lakehouse.data_version(name):
            return f"{name} is not as the last run that ended left it"
    return None
