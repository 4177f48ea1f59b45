"""Media that records name → media_asset and media_link; only what is new or changed is read.

A medium never takes its record along: a reference that cannot be followed is a quarantine row of its own, which goes
as soon as the reference is gone or good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.bronze import MEDIA_ASSET, MEDIA_LINK
from mmrec_lib.ingest.config import MediaConfig
from mmrec_lib.ingest.frames import SOURCE
from mmrec_lib.ingest.media_read import read_media
from mmrec_lib.ingest.reasons import Reason
from mmrec_lib.lakehouse.landing import FoundFile, LandingFolder
from mmrec_lib.lakehouse.tables import Lakehouse

MEDIA_KIND = "media"
FIELDS: dict[str, tuple[str, ...]] = {"item": ("images", "audio", "video"), "review": ("audio",)}
"""Owner kind → its fields that hold media paths."""

_KEY = list(MEDIA_LINK.key)
_KEEP, _READ, _BAD, _GONE = "keep", "read", "bad", "gone"
_MAX_TASKS = 2048


@dataclass(frozen=True)
class MediaSummary:
    """What became of references: `media.read` = `media.stored` + `media.quarantined` of this run, and what went."""

    counts: dict[str, int]
    is_changed: bool


def ingest_media(
    lakehouse: Lakehouse, landing: LandingFolder, files: Sequence[FoundFile], config: MediaConfig
) -> MediaSummary:
    """Bring the media that items and reviews name into the store.

    Args:
        lakehouse: The store, items and reviews up to date.
        landing: Where the files are.
        files: What is in the landing folder.
        config: Limits.
    """
    spark = lakehouse.spark
    if not any(lakehouse.exists(owner) for owner in FIELDS):
        return MediaSummary({}, is_changed=False)
    owned = [references(lakehouse.read(owner), owner) for owner in FIELDS]
    plan = plan_media(
        _union(owned), spark.createDataFrame(_listing(files)), lakehouse.read("media_link"),
        lakehouse.read("media_asset"), lakehouse.read("quarantine"), config,
    )
    plan = lakehouse.stage("ingest_media_plan", plan)
    totals = plan.groupBy("_action").agg(
        F.count(F.lit(1)).alias("num"),
        F.count_if("_is_refused").alias("num_refused"),
        F.count_if(F.col("_linked_asset").isNotNull()).alias("num_linked"),
        F.sum("_bytes").alias("bytes"),
    )
    actions = {row["_action"]: row for row in totals.collect()}
    num_stale = _stale_quarantine(lakehouse, plan).count() if lakehouse.exists("quarantine") else 0
    has_news = any(action in actions for action in (_READ, _BAD, _GONE)) or num_stale > 0
    if not has_news:
        return MediaSummary({}, is_changed=False)

    to_read = plan.where(F.col("_action") == _READ)
    num_tasks = max(1, min(_MAX_TASKS, -(-(actions[_READ]["bytes"] or 0) // config.read_bytes))) if _READ in actions else 1
    # Two tasks at least, so that a small folder keeps two cores busy.
    wanted = to_read.select("media_path", "media_kind").distinct().repartition(max(2, num_tasks))
    read = lakehouse.stage("ingest_media", read_media(wanted, landing, config))
    judged = to_read.drop("_reason", "_detail").join(
        read.select("media_path", "media_kind", "asset_id", "_reason", "_detail", "_raw"), on=["media_path", "media_kind"]
    )
    good = lakehouse.stage("ingest_media_good", judged.where(F.col("_reason").isNull()).drop("_raw"))
    bad = judged.where(F.col("_reason").isNotNull()).unionByName(
        plan.where(F.col("_action") == _BAD), allowMissingColumns=True
    )
    bad = lakehouse.stage("ingest_media_bad", bad)

    kept = plan.where(F.col("_action") == _KEEP).select(F.col("_linked_asset").alias("asset_id"))
    linked = kept.unionByName(good.select("asset_id")).distinct()
    assets = lakehouse.read("media_asset").select("asset_id")
    unlinked = assets.join(linked, on="asset_id", how="left_anti")
    stored = lakehouse.merge("media_asset", new_assets(read, assets), delete_keys=unlinked)
    lost = _union([plan.where(F.col("_action") == _GONE).select(*_KEY), bad.select(*_KEY)])
    links = lakehouse.merge("media_link", _link_rows(good), delete_keys=lost)
    stale = _stale_quarantine(lakehouse, _union([bad.select("_quarantine_id"), plan.limit(0).select("_quarantine_id")]))
    refused = lakehouse.merge("quarantine", _quarantine_rows(bad), delete_keys=stale)
    num_bad_new = bad.where(~F.col("_is_refused")).count()
    num_good = good.count()
    counts = {
        "media.read": num_good + num_bad_new,
        "media.stored": num_good,
        "media.quarantined": num_bad_new,
        "media.dropped": stored.deleted,
    }
    return MediaSummary(counts, stored.committed or links.committed or refused.committed)


def references(owners: DataFrame, owner_kind: str) -> DataFrame:
    """What records name: one row a path, with its place in the record.

    Args:
        owners: Rows of `item` or `review`.
        owner_kind: item or review.

    Returns:
        The key of `media_link`, `media_path` in plain form, `media_kind` that the field asks for, and the source.
    """
    lists = [
        F.transform(
            F.coalesce(F.col(field), F.array().cast("array<string>")),
            lambda path, position, field=field: F.struct(  # type: ignore[misc]
                F.lit(field).alias("field"), position.cast("int").alias("position"), path.alias("path")
            ),
        )
        for field in FIELDS[owner_kind]
    ]
    exploded = owners.select(
        F.lit(owner_kind).alias("owner_kind"),
        F.col(f"{owner_kind}_id").alias("owner_id"),
        *SOURCE,
        F.explode(F.concat(*lists)).alias("ref"),
    )
    return exploded.select(
        "owner_kind",
        "owner_id",
        F.col("ref.field").alias("field"),
        F.col("ref.position").alias("position"),
        plain_path(F.col("ref.path")).alias("media_path"),
        F.when(F.col("ref.field") == "images", "image").otherwise(F.col("ref.field")).alias("media_kind"),
        *SOURCE,
    )


def plain_path(path: Column) -> Column:
    """A path without `./` and doubled slashes, as `records.landing_path` gives it."""
    plain = F.regexp_replace(path, "/+", "/")
    plain = F.regexp_replace(plain, r"(^|/)(\./)+", "$1")
    return F.regexp_replace(plain, r"(?<=.)(/\.)?/?$", "")


def plan_media(
    refs: DataFrame, listing: DataFrame, links: DataFrame, assets: DataFrame, quarantine: DataFrame, config: MediaConfig
) -> DataFrame:
    """What to do with each reference, and with each link that is no longer one.

    A file that is gone from the landing folder stays linked while the store holds its bytes: landing folders are
    cleaned.

    Args:
        refs: See `references`.
        listing: `media_path`, `_bytes` and `_modified_us` of each file of the landing folder.
        links: Rows of `media_link`.
        assets: Rows of `media_asset`.
        quarantine: Rows of `quarantine`.
        config: Limits.

    Returns:
        A row each with `_action`: keep, read, bad (then with `_reason` and `_detail`) or gone; `_linked_asset` where
        there is a link, and `_is_refused` where quarantine has the reference already.
    """
    held = assets.select(F.col("asset_id").alias("_linked_asset"), F.col("content").isNotNull().alias("_is_inline"))
    linked = links.select(
        *_KEY,
        F.col("asset_id").alias("_linked_asset"),
        F.col("media_path").alias("_linked_path"),
        F.col("file_bytes_len").alias("_linked_bytes"),
        F.unix_micros("file_modified_at").alias("_linked_us"),
    ).join(held, on="_linked_asset", how="left")
    refused = quarantine.where(F.col("record_kind") == MEDIA_KIND).select(
        F.col("quarantine_id").alias("_quarantine_id"), F.lit(True).alias("_refused")
    )
    rows = (
        refs.join(listing, on="media_path", how="left")
        .join(linked, on=_KEY, how="full")
        .withColumn("_quarantine_id", _quarantine_id())
        .join(refused, on="_quarantine_id", how="left")
        .withColumn("_is_refused", F.coalesce("_refused", F.lit(False)))
    )
    path, size = F.col("media_path"), F.col("_bytes")
    is_held = F.col("_linked_path").eqNullSafe(path) & F.col("_is_inline").isNotNull()
    is_unchanged = is_held & (size == F.col("_linked_bytes")) & (F.col("_modified_us") == F.col("_linked_us"))
    is_outside = path.rlike(r"^/|^[A-Za-z][A-Za-z0-9+.-]*:|(^|[/\\])\.\.([/\\]|$)|^\\|^~")
    reason = (
        F.when(is_outside, str(Reason.MEDIA_OUTSIDE_LANDING))
        .when(size.isNull() & is_held & F.col("_is_inline"), F.lit(None))
        .when(size.isNull(), str(Reason.MEDIA_MISSING))
        .when(size == 0, str(Reason.MEDIA_EMPTY))
        .when(size > config.max_bytes, str(Reason.MEDIA_OVERSIZED))
    )
    action = (
        F.when(path.isNull(), _GONE)
        .when(reason.isNotNull(), _BAD)
        .when(size.isNull() | is_unchanged, _KEEP)
        .otherwise(_READ)
    )
    return rows.select(
        *_KEY, "media_path", "media_kind", *SOURCE, "_quarantine_id", "_is_refused", "_bytes", "_modified_us",
        "_linked_asset", action.alias("_action"), F.when(action == _BAD, reason).alias("_reason"),
        F.when(action == _BAD, _detail(reason, config)).alias("_detail"),
    )


def _detail(reason: Column, config: MediaConfig) -> Column:
    place = F.concat(F.lit("field `"), "field", F.lit("["), F.col("position").cast("string"), F.lit("]`: "))
    size = F.col("_bytes").cast("string")
    what = (
        F.when(reason == Reason.MEDIA_OUTSIDE_LANDING, "a path inside the landing folder is needed, got ")
        .when(reason == Reason.MEDIA_MISSING, "a file of the landing folder is needed, but there is none at ")
        .when(reason == Reason.MEDIA_EMPTY, "a medium is needed, but there are 0 bytes in ")
        .otherwise(
            F.concat(F.lit(f"at most {config.max_bytes} bytes are allowed (media.max_bytes), but "), size, F.lit(" are in "))
        )
    )
    return F.concat(place, what, "media_path")


def _quarantine_id() -> Column:
    # Without the file that named it: a record that arrives again with the same bad reference is no news.
    place = F.concat_ws(
        "\x1f", F.lit(MEDIA_KIND), "owner_kind", "owner_id", "field", F.col("position").cast("string"), "media_path"
    )
    return F.substring(F.sha2(place, 256), 1, 32)


def _quarantine_rows(bad: DataFrame) -> DataFrame:
    return bad.select(
        F.col("_quarantine_id").alias("quarantine_id"),
        F.lit(MEDIA_KIND).alias("record_kind"),
        F.col("_reason").alias("reason"),
        F.col("_detail").alias("detail"),
        F.col("owner_id").alias("record_id"),
        F.lit(None).cast("string").alias("waits_for_item_id"),
        *SOURCE,
        F.col("_raw").alias("raw"),
    )


def _stale_quarantine(lakehouse: Lakehouse, current: DataFrame) -> DataFrame:
    """Keys of the quarantined references that are not among `current` ones."""
    rows = lakehouse.read("quarantine").where(F.col("record_kind") == MEDIA_KIND).select("quarantine_id")
    ids = current.select(F.col("_quarantine_id").alias("quarantine_id"))
    return rows.join(ids, on="quarantine_id", how="left_anti")


def new_assets(read: DataFrame, known: DataFrame) -> DataFrame:
    """Rows of `media_asset` for the distinct contents that were read and are not known.

    Args:
        read: See `read_media`.
        known: `asset_id` of the assets that the store has.
    """
    good = read.where(F.col("_reason").isNull())
    # Which of equal files stands for the asset is chosen on narrow rows, so that no bytes are shuffled for it.
    first = good.groupBy("asset_id").agg(F.min(F.struct("media_path", "media_kind")).alias("first"))
    chosen = first.join(known, on="asset_id", how="left_anti").select(
        F.col("first.media_path").alias("media_path"), F.col("first.media_kind").alias("media_kind")
    )
    rows = good.join(chosen, on=["media_path", "media_kind"], how="left_semi")
    return rows.select(*MEDIA_ASSET.input_schema.names)


def _link_rows(good: DataFrame) -> DataFrame:
    return good.select(
        *_KEY,
        "asset_id",
        "media_path",
        F.col("_bytes").alias("file_bytes_len"),
        F.timestamp_micros("_modified_us").alias("file_modified_at"),
    )


def _listing(files: Sequence[FoundFile]) -> pa.Table:
    return pa.table(
        {
            "media_path": pa.array([file.path for file in files], pa.string()),
            "_bytes": pa.array([file.bytes_len for file in files], pa.int64()),
            "_modified_us": pa.array([file.modified_us for file in files], pa.int64()),
        }
    )


def _union(frames: Iterable[DataFrame]) -> DataFrame:
    return reduce(lambda a, b: a.unionByName(b), frames)
