"""Media that were read and refused: remembered by their bytes and the limits, so that they are not read in vain again.

A refusal that lies in the bytes stands while the file (size and modification time, else hash) and the limits stand. A
crash or timeout of the decoder may be the fault of a busy machine: later runs try again, `MAX_ATTEMPTS` runs in all.
"""

from __future__ import annotations

import hashlib

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib import __version__
from mmrec_lib.ingest.config import MediaConfig
from mmrec_lib.ingest.records.frames import SOURCE
from mmrec_lib.media.errors import MAX_ATTEMPTS, RETRYABLE_REASONS

MEDIA_KIND = "media"


def limits_hash(config: MediaConfig) -> str:
    """Hash of everything but its bytes that decides whether a medium is refused; another release may read more."""
    limits = (config.max_bytes, config.max_pixels, config.decoder_timeout_seconds, config.decoder_memory_bytes)
    return hashlib.sha256(repr((__version__, *limits)).encode()).hexdigest()[:16]


def media_seen(limits: str) -> Column:
    """`quarantine.media_seen` of a reference that was read; null where no bytes were read."""
    parts = [F.col("_bytes").cast("string"), F.col("_modified_us").cast("string"), F.col("asset_id"), F.lit(limits)]
    return F.when(F.col("asset_id").isNotNull(), F.concat_ws(" ", *parts))


def refusals(quarantine: DataFrame, limits: str) -> DataFrame:
    """The quarantined references of a store.

    Args:
        quarantine: Rows of `quarantine`.
        limits: `limits_hash` of this run.

    Returns:
        `_quarantine_id`; `_refused`, the reason and the source; `_refusal`, what is known of its bytes under these
        limits, null when nothing is; `_refused_bytes` and `_refused_us`, size and time of the file when this is the
        last word on it.
    """
    seen = F.split("media_seen", " ")
    attempts = F.coalesce("num_attempts", F.lit(1))
    is_last = ~F.col("reason").isin(*RETRYABLE_REASONS) | (attempts >= MAX_ATTEMPTS)
    is_known = F.coalesce(F.get(seen, F.lit(3)) == limits, F.lit(False))
    refusal = F.struct(
        attempts.alias("num_attempts"), F.get(seen, F.lit(2)).alias("asset_id"), F.col("reason"), F.col("detail")
    )
    return quarantine.where(F.col("record_kind") == MEDIA_KIND).select(
        F.col("quarantine_id").alias("_quarantine_id"),
        F.struct("reason", *SOURCE).alias("_refused"),
        F.when(is_known, refusal).alias("_refusal"),
        F.when(is_known & is_last, F.get(seen, F.lit(0)).cast("long")).alias("_refused_bytes"),
        F.when(is_known & is_last, F.get(seen, F.lit(1)).cast("long")).alias("_refused_us"),
    )


def stands() -> Column:
    """Tell whether the refusal of a reference stands without reading: the same file, named by the same record."""
    same_source = [F.col(f"_refused.{name}").eqNullSafe(F.col(name)) for name in SOURCE]
    is_same = (F.col("_refused_bytes") == F.col("_bytes")) & (F.col("_refused_us") == F.col("_modified_us"))
    for same in same_source:
        is_same &= same
    return F.coalesce(is_same, F.lit(False))
