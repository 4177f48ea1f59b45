"""A training snapshot as arrays: streamed through Arrow, one batch in memory beside the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.errors import NoDataError
from mmrec_lib.features.alignment_model import load_aligner
from mmrec_lib.features.arrow_columns import map_entries, objects_of, vector_matrix
from mmrec_lib.features.contents import ALL_FITS
from mmrec_lib.features.interactions import PARTS, Cuts
from mmrec_lib.features.leakage import LeakageCheck
from mmrec_lib.features.outcomes import OUTCOME_PARTS
from mmrec_lib.features.pair_columns import PairColumns
from mmrec_lib.features.request_context import DeviceCodes, searches_of_lists, text_column
from mmrec_lib.features.token_rows import TokenRows
from mmrec_lib.features.user_groups import user_groups
from mmrec_lib.lakehouse.arrow_tables import whole_table
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.alignment.aligner import Aligner
from mmrec_lib.models.data import Content, FitData, Interactions
from mmrec_lib.models.heads.outcomes import PairValues
from mmrec_lib.models.ids import IdIndex
from mmrec_lib.models.request_context import Searches

Outcomes = Mapping[str, Mapping[str, PairValues]]
"""What followed, by part (valid and test) and name of the outcome."""
SNAPSHOT_TABLES = (
    "training_snapshot",
    "training_interaction",
    "training_content",
    "training_item",
    "training_user",
    "user",
    "item",
)
"""Tables that `load_snapshot` reads; with a joint space also `alignment_model`."""
SEGMENT_ATTRIBUTE = "taste_segment"
"""Attribute of users that holds their segment, see `present_profiles`."""
FIT_PARTS = {"fit1": ("train",), "fit2": ("train", "valid"), "fit3": ("train", "valid", "test")}


@dataclass(frozen=True)
class Snapshot:
    """A snapshot in memory.

    Attributes:
        snapshot_id: See the table training_snapshot.
        cuts: Where its parts end.
        user_ids: [U] its users that are still there, sorted.
        item_ids: [I] its items that are still there, sorted.
        is_available: [I] whether the item may be recommended now.
        parts: Interactions of train, valid and test, each [U, I].
        contents: Feature blocks by fit (or `all`) and name.
        user_attributes: [U] group of each user for each attribute.
        num_gone: Stored pairs that no longer count, because their user or item was deleted after the snapshot was made.
        outcomes: Outcomes that heads learn from (valid) and are judged by (test).
        aligner: Joint space that fits have as one more block of contents; None where there is none.
        device_names: Names of the devices of the parts.
        searches: What users searched for, where the parts follow each other in time; None where nobody asks for it.
        item_texts: [I] texts of the items for the words of searches; None without searches.
    """

    snapshot_id: str
    cuts: Cuts
    user_ids: npt.NDArray[np.str_]
    item_ids: npt.NDArray[np.str_]
    is_available: npt.NDArray[np.bool_]
    parts: Mapping[str, Interactions]
    contents: Mapping[tuple[str, str], Content]
    user_attributes: Mapping[str, npt.NDArray[np.object_]]
    num_gone: int = 0
    outcomes: Outcomes = field(default_factory=dict)
    aligner: Aligner | None = None
    device_names: tuple[str, ...] = ()
    searches: Searches | None = None
    item_texts: npt.NDArray[np.object_] | None = None

    def fit_data(self, fit: str) -> FitData:
        """Data of fit1, fit2 or fit3: the parts before its cut, and contents as known then."""
        first, *others = (self.parts[part] for part in FIT_PARTS[fit])
        interactions = first
        for other in others:
            interactions = interactions + other
        cut = self.cuts.before(fit)
        contents = {name: content for (of, name), content in self.contents.items() if of in (ALL_FITS, fit)}
        if self.aligner is not None:
            contents = self.aligner.with_block(contents, len(self.item_ids), self.item_ids)
        return FitData(
            item_ids=self.item_ids,
            interactions=interactions,
            contents=dict(sorted(contents.items())),
            user_attributes=self.user_attributes,
            cut_ts=cut.timestamp() if cut else float("inf"),
            searches=None if self.searches is None or cut is None else self.searches.before(cut.timestamp()),
            device_names=self.device_names,
            item_texts=self.item_texts,
        )

    @cached_property
    def data_hash(self) -> str:
        """Identity of what fits see: the catalogue, contents, and what users with interactions did and are.

        The id of a snapshot is that of its interactions and contents. What a fit sees also lacks the users and items
        that were deleted since, and has items that neither speaks of.
        """
        digest = hashlib.sha256()
        _add(digest, "items", text=self.item_ids.tolist())
        num_interactions = sum(np.diff(part.weights.indptr) for part in self.parts.values())
        users = np.flatnonzero(num_interactions)
        for name, part in sorted(self.parts.items()):
            weights, times = part.weights[users], part.times[users]
            _add(digest, name, weights.indptr, weights.indices, weights.data, times.data)
            if part.devices is not None:
                _add(digest, f"{name}:devices", part.devices, text=self.device_names)
        for key, content in sorted(self.contents.items()):
            matrix = content.matrix
            arrays = [matrix] if isinstance(matrix, np.ndarray) else [matrix.indptr, matrix.indices, matrix.data]
            _add(digest, ":".join(key), *arrays, content.has, text=content.tokens)
        for attribute, values in sorted(self.user_attributes.items()):
            _add(digest, attribute, text=values[users].tolist())
        if self.searches is not None:
            own = self.searches.where(np.isin(self.searches.users, users))
            keys = np.searchsorted(users, own.users)
            texts = [] if self.item_texts is None else self.item_texts.tolist()
            _add(digest, "searches", keys, own.times, text=[*own.words.tolist(), *texts])
        if self.aligner is not None:
            _add(digest, json.dumps(self.aligner.meta()), *self.aligner.arrays().values())
        for held_out, by_name in sorted(self.outcomes.items()):
            for name, outcome in sorted(by_name.items()):
                # By the places of users with interactions, as everything here: the others come and go.
                keys = np.searchsorted(users, outcome.users) * outcome.num_items + outcome.keys % outcome.num_items
                _add(digest, f"{held_out}:{name}", keys, outcome.values)
        return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, *arrays: npt.NDArray[Any], text: Sequence[str | None] = ()) -> None:
    """Add named arrays and texts to a hash, each with its type and length."""
    kinds = [(array.dtype.kind, array.shape) for array in arrays]
    digest.update(json.dumps([name, kinds, list(text)]).encode())
    for array in arrays:
        # Of 4 or 8 bytes, as scipy finds fit: the same positions are the same data.
        of_one_size = array.astype(np.int64, copy=False) if array.dtype.kind == "i" else array
        digest.update(np.ascontiguousarray(of_one_size).reshape(-1).view(np.uint8).data)


def current_snapshot(lakehouse: Lakehouse) -> tuple[str, Cuts]:
    """Id and cuts of the latest snapshot.

    Raises:
        NoDataError: When there is none.
    """
    rows = lakehouse.read("training_snapshot").where("is_current").limit(1).collect()
    if not rows:
        raise NoDataError("There is no training snapshot yet. Run assemble_snapshot first.")
    row = rows[0]
    cuts = Cuts(
        as_of=row["as_of_date"],
        source=row["split_source"],
        valid_from=_utc(row["valid_from_ts"]),
        test_from=_utc(row["test_from_ts"]),
    )
    return str(row["snapshot_id"]), cuts


def _utc(value: datetime | None) -> datetime | None:
    return value.astimezone(UTC) if value is not None else None


@dataclass(frozen=True)
class SnapshotItems:
    """The catalogue of a snapshot, less items that were deleted after it was made.

    Attributes:
        snapshot_id: See the table training_snapshot.
        cuts: Where its parts end.
        item_ids: [I] sorted.
        table: item_id and available, whether the item may be recommended now, and the other columns that were asked
            for, in that order.
    """

    snapshot_id: str
    cuts: Cuts
    item_ids: npt.NDArray[np.str_]
    table: pa.Table

    @cached_property
    def is_available(self) -> npt.NDArray[np.bool_]:
        """[I] whether the item may be recommended now."""
        return np.asarray(self.table["available"].to_numpy(), dtype=np.bool_)

    def documents(self, lakehouse: Lakehouse) -> npt.NDArray[np.object_] | None:
        """[I] texts of the items in the snapshot; None where it keeps none."""
        rows = lakehouse.read("training_item").where(F.col("snapshot_id") == self.snapshot_id)
        table = sorted_table(lakehouse, "item_id", rows.select("item_id", "document"))
        at = pc.index_in(pa.array(self.item_ids, pa.string()), value_set=table["item_id"].combine_chunks())
        return text_column(table["document"].combine_chunks().take(at).to_pylist())


def load_items(lakehouse: Lakehouse, columns: Sequence[str] = ()) -> SnapshotItems:
    """Read the catalogue of the latest snapshot.

    Args:
        lakehouse: The store.
        columns: Columns of the table item to read besides item_id and available.

    Raises:
        NoDataError: When there is no snapshot, or it has no items.
    """
    snapshot_id, cuts = current_snapshot(lakehouse)
    own = lakehouse.read("training_item").where(F.col("snapshot_id") == snapshot_id).select("item_id")
    present = lakehouse.read("item").select(*dict.fromkeys(("item_id", "available", *columns)))
    items = sorted_table(lakehouse, "item_id", own.join(present, "item_id"))
    if not len(items):
        raise NoDataError(
            f"Snapshot {snapshot_id} has no items: all of them were deleted since, or it was made by an earlier "
            "version, which did not keep them. Run assemble_snapshot."
        )
    return SnapshotItems(
        snapshot_id=snapshot_id,
        cuts=cuts,
        item_ids=np.array(items["item_id"].to_pylist(), dtype=np.str_),
        table=items,
    )


def load_snapshot(lakehouse: Lakehouse, *, with_aligner: bool = True) -> Snapshot:
    """Read the latest snapshot, less what was deleted after it was made.

    Args:
        lakehouse: The store.
        with_aligner: False leaves the joint space out, for the job that learns it.

    Raises:
        NoDataError: When there is none, or it has no items.
        LeakageError: When a fit would know what only a later part may; see `leakage`.
    """
    items = load_items(lakehouse)
    own = lakehouse.read("training_user").where(F.col("snapshot_id") == items.snapshot_id)
    present = own.join(lakehouse.read("user").select("user_id"), "user_id", "left_semi")
    users = sorted_table(lakehouse, "user_id", present.select("user_id", "attributes", "searches"))
    user_ids = np.array(users["user_id"].to_pylist(), dtype=np.str_)
    of_users, of_items = IdIndex(user_ids, "users of the snapshot"), IdIndex(items.item_ids, "items of the snapshot")
    devices, searches = DeviceCodes(), searches_of_lists(users["searches"].combine_chunks())
    parts, outcomes, num_gone = _load_parts(lakehouse, items.snapshot_id, of_users, of_items, devices)
    contents, content_times = _load_contents(lakehouse, items.snapshot_id, of_items)
    LeakageCheck(items.cuts, user_ids, items.item_ids, parts, content_times).run()
    return Snapshot(
        snapshot_id=items.snapshot_id,
        cuts=items.cuts,
        user_ids=user_ids,
        item_ids=items.item_ids,
        is_available=items.is_available,
        parts=parts,
        contents=contents,
        user_attributes=user_groups(users["attributes"].combine_chunks()),
        num_gone=num_gone,
        outcomes=outcomes,
        aligner=load_aligner(lakehouse, items.snapshot_id) if with_aligner else None,
        device_names=devices.names,
        searches=searches,
        item_texts=None if searches is None else items.documents(lakehouse),
    )


def load_fit_contents(lakehouse: Lakehouse, items: SnapshotItems, fit: str) -> dict[str, Content]:
    """Read the feature blocks that a fit sees, by name, for all items of a snapshot; see `Snapshot.fit_data`."""
    of_items = IdIndex(items.item_ids, "items of the snapshot")
    contents, _ = _load_contents(lakehouse, items.snapshot_id, of_items, (ALL_FITS, fit))
    return {name: content for (_, name), content in sorted(contents.items(), key=lambda entry: entry[0][1])}


def load_tokens(lakehouse: Lakehouse, items: SnapshotItems) -> dict[str, Content]:
    """Read the token blocks of a snapshot by name, for all its items; vectors are not read."""
    of_items = IdIndex(items.item_ids, "items of the snapshot")
    contents, _ = _load_contents(lakehouse, items.snapshot_id, of_items, (ALL_FITS,), with_vectors=False)
    return {name: content for (_, name), content in contents.items()}


def present_profiles(lakehouse: Lakehouse) -> DataFrame:
    """Profiles of the users that the store still has; those of users deleted since are left out.

    Their segment is among their attributes, as `SEGMENT_ATTRIBUTE`, so that rules and audiences may ask for it; an
    attribute of that name that the source brings stands.
    """
    present = lakehouse.read("user_profile").join(lakehouse.read("user").select("user_id"), "user_id", "left_semi")
    return with_segment_attribute(present)


def with_segment_attribute(users: DataFrame) -> DataFrame:
    """Users whose column `segment` is among their `attributes` as well, see `present_profiles`."""
    given = F.coalesce("attributes", F.create_map().cast("map<string,string>"))
    has_more = F.col("segment").isNotNull() & ~F.map_contains_key(given, F.lit(SEGMENT_ATTRIBUTE))
    more = F.map_concat(given, F.create_map(F.lit(SEGMENT_ATTRIBUTE), F.col("segment")))
    return users.withColumn("attributes", F.when(has_more, more).otherwise(F.col("attributes")))


def sorted_table(lakehouse: Lakehouse, key: str, rows: DataFrame) -> pa.Table:
    """Rows in the order of their ids, sorted here: Spark would need three jobs more for it."""
    table = whole_table(lakehouse.stream_arrow(key, rows.coalesce(1)), rows.schema)
    return table.take(pc.sort_indices(table[key]))


def _load_parts(
    lakehouse: Lakehouse, snapshot_id: str, of_users: IdIndex, of_items: IdIndex, devices: DeviceCodes
) -> tuple[dict[str, Interactions], Outcomes, int]:
    """Interactions and outcomes of each part, and how many stored pairs speak of a user or item that is gone."""
    columns = [f"{part}_{of}" for of in ("weight", "device") for part in PARTS]
    columns += [f"{part}_outcomes" for part in OUTCOME_PARTS]
    seconds = [F.coalesce(F.col(f"{part}_ts").cast("double"), F.lit(0.0)).alias(f"{part}_ts") for part in PARTS]
    rows = lakehouse.read("training_interaction").where(F.col("snapshot_id") == snapshot_id)
    found = {part: PairColumns((len(of_users), len(of_items))) for part in PARTS}
    told: dict[str, dict[str, list[tuple[npt.NDArray[Any], ...]]]] = {part: {} for part in OUTCOME_PARTS}
    num_gone = 0
    for batch in lakehouse.stream_arrow("interactions", rows.select("user_id", "item_id", *columns, *seconds)):
        user_ids, item_ids = (objects_of(batch[name]) for name in ("user_id", "item_id"))
        present = of_users.known(user_ids) & of_items.known(item_ids)
        num_gone += int((~present).sum())
        users, items = of_users.positions(user_ids[present]), of_items.positions(item_ids[present])
        for part in PARTS:
            weights = batch[f"{part}_weight"].to_numpy(zero_copy_only=False).astype(np.float64)[present]
            times = batch[f"{part}_ts"].to_numpy(zero_copy_only=False)[present]
            has = np.isfinite(weights)
            device = devices.codes(batch[f"{part}_device"])[present]
            found[part].add(users[has], items[has], weights[has], times[has], device[has])
        for part, by_name in told.items():
            for name, places, values in map_entries(batch[f"{part}_outcomes"].filter(pa.array(present))):
                by_name.setdefault(name, []).append((users[places], items[places], values))
    parts = {part: found.pop(part).interactions(devices) for part in PARTS}
    outcomes = {
        part: {
            name: PairValues.of(len(of_items), *(np.concatenate(column) for column in zip(*blocks, strict=True)))
            for name, blocks in sorted(by_name.items())
        }
        for part, by_name in told.items()
    }
    return parts, outcomes, num_gone


def _load_contents(
    lakehouse: Lakehouse,
    snapshot_id: str,
    of_items: IdIndex,
    fits: Sequence[str] | None = None,
    *,
    with_vectors: bool = True,
) -> tuple[dict[tuple[str, str], Content], dict[tuple[str, str], npt.NDArray[np.float64]]]:
    """Contents by fit and feature, and the times of those that have some; see `leakage.ContentTimes`."""
    rows = lakehouse.read("training_content").where(F.col("snapshot_id") == snapshot_id)
    rows = rows if fits is None else rows.where(F.col("fit").isin(*fits))
    if not with_vectors:
        rows = rows.where(F.col("tokens").isNotNull()).withColumn("vector", F.lit(None).cast("array<float>"))
    vectors: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
    tokens: dict[tuple[str, str], TokenRows] = {}
    times: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    columns = ("fit", "feature", "item_id", "tokens", "vector")
    latest = F.col("latest_ts").cast("double").alias("latest")
    for batch in lakehouse.stream_arrow("contents", rows.select(*columns, latest), 4096):
        item_ids = objects_of(batch["item_id"])
        present = of_items.known(item_ids)
        at = np.zeros(len(item_ids), dtype=np.int64)
        at[present] = of_items.positions(item_ids[present])
        is_vector = batch["vector"].is_valid().to_numpy(zero_copy_only=False)
        fit_of, feature_of = objects_of(batch["fit"]), objects_of(batch["feature"])
        seconds = batch["latest"].to_numpy(zero_copy_only=False)
        for fit, feature in sorted(set(zip(fit_of, feature_of, strict=True))):
            own = present & (fit_of == fit) & (feature_of == feature)
            if len(places := np.flatnonzero(own & np.isfinite(seconds))):
                times.setdefault((fit, feature), np.full(len(of_items), -np.inf))[at[places]] = seconds[places]
            if len(places := np.flatnonzero(own & is_vector)):
                values = vector_matrix(batch["vector"].take(pa.array(places)), f"content {feature}")
                shape = (len(of_items), values.shape[1])
                vectors.setdefault((fit, feature), np.zeros(shape, dtype=np.float32))[at[places]] = values
            if len(places := np.flatnonzero(own & ~is_vector)):
                of_block = tokens.setdefault((fit, feature), TokenRows())
                of_block.add(at[places], batch["tokens"].take(pa.array(places)))
    contents = {key: Content.from_vectors(key[1], block) for key, block in vectors.items()}
    return contents | {key: rows.content(key[1], len(of_items)) for key, rows in tokens.items()}, times
