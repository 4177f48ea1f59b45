"""Media that records name → media_asset and media_link; only what is new or changed is read.

A medium never takes its record along: a reference that cannot be followed is a quarantine row of its own, which goes
as soon as the reference is gone or good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from mmrec_lib.contracts.bronze import MEDIA_ASSET, MEDIA_LINK
from mmrec_lib.ingest.config import MediaConfig
from mmrec_lib.ingest.landing import FoundFile, LandingFolder
from mmrec_lib.ingest.landing.delivery import Scan
from mmrec_lib.ingest.landing.names import spellings
from mmrec_lib.ingest.media.read import read_media
from mmrec_lib.ingest.media.refused import MEDIA_KIND, limits_hash, media_seen, refusals, stands
from mmrec_lib.ingest.records.frames import SOURCE
from mmrec_lib.ingest.records.reasons import Reason
from mmrec_lib.lakehouse.actions import union
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.touch import refresh_audit

FIELDS: dict[str, tuple[str, ...]] = {
    "item": ("images", "audio", "video"),
    "review": ("audio",),
    "query": ("images", "audio"),
}
"""Owner kind → its fields that hold media paths."""

_KEY = list(MEDIA_LINK.key)
_KEEP, _READ, _BAD, _REFUSED, _GONE = "keep", "read", "bad", "refused", "gone"
_MAX_TASKS = 2048


@dataclass(frozen=True)
class MediaResult:
    """Outcome of the media references of a run.

    Attributes:
        counts: `media.read` = `media.stored` + `media.quarantined` of this run, and `media.dropped` assets.
        is_changed: Whether assets or links were written.
        quarantine: Rows of `quarantine` that must be there; None when nothing is to be done.
        released: `quarantine_id` of those that must go; None when nothing is to be done.
    """

    counts: dict[str, int]
    is_changed: bool
    quarantine: DataFrame | None = None
    released: DataFrame | None = None


def ingest_media(lakehouse: Lakehouse, landing: LandingFolder, scan: Scan, config: MediaConfig) -> MediaResult:
    """Bring the media that records name into the store; what must change in quarantine is handed back.

    Args:
        lakehouse: The store, items, reviews and queries up to date.
        landing: Where the files are.
        scan: What is in the landing folder.
        config: Limits.
    """
    spark = lakehouse.spark
    owners = [owner for owner in FIELDS if lakehouse.exists(owner)]
    if not owners:
        return MediaResult({}, is_changed=False)
    owned = [references(lakehouse.read(owner), owner) for owner in owners]
    plan = plan_media(
        union(owned),
        spark.createDataFrame(_listing(scan.files)),
        links=lakehouse.read("media_link"),
        assets=lakehouse.read("media_asset"),
        quarantine=lakehouse.read("quarantine"),
        config=config,
        outside=scan.outside,
    )
    plan = lakehouse.stage("ingest_media_plan", plan)
    totals = plan.groupBy("_action").agg(
        F.count(F.lit(1)).alias("num"),
        F.count_if("_is_refused").alias("num_refused"),
        F.count_if(F.col("_linked_asset").isNotNull()).alias("num_linked"),
        F.sum("_bytes").alias("bytes"),
    )
    actions = {row["_action"]: row for row in totals.collect()}
    bad = actions.get(_BAD)
    loses_links = _GONE in actions or (bad is not None and bad["num_linked"] > 0)
    has_news = _READ in actions or loses_links or (bad is not None and bad["num"] > bad["num_refused"])
    if not has_news and not _has_stale_quarantine(lakehouse, plan):
        return MediaResult({}, is_changed=False)
    read = lakehouse.stage("ingest_media", read_media(_wanted(plan, actions.get(_READ), config), landing, config))
    judged = lakehouse.stage("ingest_media_judged", _judged(plan, read))
    return _write(lakehouse, plan, read, judged, loses_links, limits_hash(config))


def _wanted(plan: DataFrame, totals: Row | None, config: MediaConfig) -> DataFrame:
    wanted = (
        plan.where(F.col("_action").isin(_READ, _REFUSED))
        .groupBy("media_path", "media_kind")
        .agg(
            F.max("_linked_here").alias("known_asset_id"),
            F.max("_refusal").alias("refusal"),
            F.count_if(F.col("_action") == _READ).alias("_num_to_read"),
        )
        .where("_num_to_read > 0")
    )
    num_tasks = -(-totals["bytes"] // config.read_bytes) if totals is not None else 1
    # Two tasks at least, so that a small folder keeps a small machine's cores busy.
    return wanted.repartition(min(_MAX_TASKS, max(2, num_tasks)))


def _judged(plan: DataFrame, read: DataFrame) -> DataFrame:
    """References that were read, with what they turned out to be, and those that were refused without reading."""
    results = read.select("media_path", "media_kind", "asset_id", "_reason", "_detail", "_raw", "_num_attempts")
    to_read = plan.where(F.col("_action") == _READ).drop("_reason", "_detail")
    judged = to_read.join(results, on=["media_path", "media_kind"])
    return judged.unionByName(plan.where(F.col("_action") == _BAD), allowMissingColumns=True)


def _write(
    lakehouse: Lakehouse, plan: DataFrame, read: DataFrame, judged: DataFrame, loses_links: bool, limits: str
) -> MediaResult:
    good, bad = judged.where(F.col("_reason").isNull()), judged.where(F.col("_reason").isNotNull())
    is_good, linked_asset = F.col("_reason").isNull(), F.col("_linked_asset")
    is_touched = is_good & (F.col("_linked_here") == F.col("asset_id"))
    num_good, num_bad, num_lost, num_replaced, num_touched = judged.agg(
        F.count_if(is_good),
        F.count_if(~is_good & ~F.col("_is_refused")),
        F.count_if(~is_good & linked_asset.isNotNull()),
        F.count_if(is_good & (linked_asset != F.col("asset_id"))),
        F.count_if(is_touched),
    ).collect()[0]
    is_changed, num_dropped = False, 0
    if num_good or num_lost or loses_links:
        known = lakehouse.read("media_asset").select("asset_id")
        unlinked = None
        if num_lost or num_replaced or loses_links:
            kept = plan.where(F.col("_action") == _KEEP).select(linked_asset.alias("asset_id"))
            unlinked = known.join(kept.unionByName(good.select("asset_id")), on="asset_id", how="left_anti")
        # Assets before links: a link never names an asset that was not written yet.
        assets = lakehouse.merge("media_asset", new_assets(read, known), delete_keys=unlinked)
        lost = plan.where(F.col("_action") == _GONE).select(*_KEY).unionByName(bad.select(*_KEY))
        links = lakehouse.merge("media_link", _link_rows(good), delete_keys=lost)
        is_changed, num_dropped = assets.committed or links.committed, assets.deleted
    if num_touched:
        # The merge sees no other content; without the new time every later ingest would read these files again.
        refresh_audit(lakehouse, "media_link", _link_rows(good.where(is_touched)), "file_modified_at")
    counts = {
        "media.read": num_good + num_bad,
        "media.stored": num_good,
        "media.quarantined": num_bad,
        "media.dropped": num_dropped,
    }
    standing = plan.where(F.col("_action") == _REFUSED).select("_quarantine_id")
    current = bad.select("_quarantine_id").unionByName(standing)
    return MediaResult(counts, is_changed, _quarantine_rows(bad, limits), _stale_quarantine(lakehouse, current))


def references(owners: DataFrame, owner_kind: str) -> DataFrame:
    """Media paths that records name: one row a path, with its place in the record.

    Args:
        owners: Rows of `item`, `review` or `query`.
        owner_kind: item, review or query.

    Returns:
        The key of `media_link`, `media_path` in plain form, `media_kind` that the field asks for, and the source.
    """
    lists = [
        F.transform(F.coalesce(F.col(field), F.array().cast("array<string>")), _placed(field))
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


def _placed(field: str) -> Callable[[Column, Column], Column]:
    def place(path: Column, position: Column) -> Column:
        return F.struct(F.lit(field).alias("field"), position.cast("int").alias("position"), path.alias("path"))

    return place


def plain_path(path: Column) -> Column:
    """A path without `./` and doubled slashes, as `records.landing_path` gives it."""
    plain = F.regexp_replace(path, "/+", "/")
    plain = F.regexp_replace(plain, r"(^|/)(\./)+", "$1")
    return F.regexp_replace(plain, r"(?<=.)(/\.)?/?$", "")


def plan_media(
    refs: DataFrame,
    listing: DataFrame,
    *,
    links: DataFrame,
    assets: DataFrame,
    quarantine: DataFrame,
    config: MediaConfig,
    outside: Sequence[str] = (),
) -> DataFrame:
    """Action for each reference, and for each link that is no longer one.

    A file that is gone from the landing folder stays linked while the store holds its bytes: landing folders are
    cleaned.

    Args:
        refs: See `references`.
        listing: `media_path`, `_bytes` and `_modified_us` of each file of the landing folder.
        links: Rows of `media_link`.
        assets: Rows of `media_asset`.
        quarantine: Rows of `quarantine`.
        config: Limits.
        outside: Folders that are links out of the landing folder.

    Returns:
        A row each with `_action`: keep, read, bad (then with `_reason` and `_detail`), refused (read by an earlier run,
        and nothing has changed) or gone; `_linked_asset` where
        there is a link, `_linked_here` where that link is to this path and kind of medium, and
        `_is_refused` where quarantine has the reference as it is.
    """
    held = assets.select(
        F.col("asset_id").alias("_linked_asset"),
        F.col("uri").isNull().alias("_is_inline"),
        F.col("media_kind").alias("_linked_kind"),
    )
    linked = links.select(
        *_KEY,
        F.col("asset_id").alias("_linked_asset"),
        F.col("media_path").alias("_linked_path"),
        F.col("file_bytes_len").alias("_linked_bytes"),
        F.unix_micros("file_modified_at").alias("_linked_us"),
    ).join(held, on="_linked_asset", how="left")
    rows = (
        refs.join(listing, on="media_path", how="left")
        .join(linked, on=_KEY, how="full")
        .withColumn("_quarantine_id", _quarantine_id())
        .join(refusals(quarantine, limits_hash(config)), on="_quarantine_id", how="left")
    )
    path, size = F.col("media_path"), F.col("_bytes")
    is_held = F.col("_linked_path").eqNullSafe(path) & F.col("_is_inline").isNotNull()
    is_unchanged = is_held & (size == F.col("_linked_bytes")) & (F.col("_modified_us") == F.col("_linked_us"))
    is_outside = path.rlike(r"^/|^[A-Za-z][A-Za-z0-9+.-]*:|(^|[/\\])\.\.([/\\]|$)|^\\|^~")
    for folder in outside:
        is_outside |= path.startswith(f"{folder}/")
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
        .when(stands() & F.col("_linked_asset").isNull(), _REFUSED)
        .otherwise(_READ)
    )
    # Refused as it is already: the same reason, named by the same record. What must be read again is judged later.
    same_refusal = F.col("_refused").eqNullSafe(F.struct(reason.alias("reason"), *SOURCE))
    is_refused = F.when(action == _BAD, same_refusal).otherwise(F.col("_refused").isNotNull())
    return rows.select(
        *_KEY,
        "media_path",
        "media_kind",
        *SOURCE,
        "_quarantine_id",
        is_refused.alias("_is_refused"),
        "_refusal",
        "_bytes",
        "_modified_us",
        "_linked_asset",
        F.when(is_held & (F.col("_linked_kind") == F.col("media_kind")), F.col("_linked_asset")).alias("_linked_here"),
        action.alias("_action"),
        F.when(action == _BAD, reason).alias("_reason"),
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
            F.concat(F.lit(f"at most {config.max_bytes} bytes (media.max_bytes) may be in it, not "), size, F.lit(": "))
        )
    )
    return F.concat(place, what, "media_path")


def _quarantine_id() -> Column:
    # Without the file that named it: a record that arrives again with the same bad reference is no news.
    place = F.concat_ws(
        "\x1f", F.lit(MEDIA_KIND), "owner_kind", "owner_id", "field", F.col("position").cast("string"), "media_path"
    )
    return F.substring(F.sha2(place, 256), 1, 32)


def _quarantine_rows(bad: DataFrame, limits: str) -> DataFrame:
    return bad.select(
        F.col("_quarantine_id").alias("quarantine_id"),
        F.lit(MEDIA_KIND).alias("record_kind"),
        F.col("_reason").alias("reason"),
        F.col("_detail").alias("detail"),
        F.col("owner_id").alias("record_id"),
        F.lit(None).cast("string").alias("waits_for_item_id"),
        *SOURCE,
        F.col("_raw").alias("raw"),
        F.lit(None).cast("string").alias("parsed"),
        media_seen(limits).alias("media_seen"),
        F.col("_num_attempts").alias("num_attempts"),
    )


def _has_stale_quarantine(lakehouse: Lakehouse, plan: DataFrame) -> bool:
    if not lakehouse.exists("quarantine"):
        return False
    open_references = plan.where(F.col("_action").isin(_READ, _BAD, _REFUSED))
    return _stale_quarantine(lakehouse, open_references).count() > 0


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
    """Each file under every Unicode form of its path: records and file systems spell the same name differently."""
    names = {file.path for file in files}
    entries = [(file.path, file) for file in files]
    entries.extend((form, file) for file in files for form in spellings(file.path)[1:] if form not in names)
    return pa.table(
        {
            "media_path": pa.array([path for path, _ in entries], pa.string()),
            "_bytes": pa.array([file.bytes_len for _, file in entries], pa.int64()),
            "_modified_us": pa.array([file.modified_us for _, file in entries], pa.int64()),
        }
    )
