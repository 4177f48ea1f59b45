"""Segments and texts of users, over the partitions of their profiles."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.showing.attributes import one_array
from mmrec_lib.tastes.columns import fit_to_lists, segments_of, taste_texts
from mmrec_lib.tastes.segments import NO_SEGMENTS, Segments

# Users that segments are fitted on, about; where there are more, a part of them by hash.
_FITTED_USERS = 20_000


def with_tastes(lakehouse: Lakehouse, profiles: DataFrame, num_active: int, max_segments: int) -> DataFrame:
    """Profiles with the columns segment and taste.

    Args:
        lakehouse: Stages the users that segments are fitted on.
        profiles: See `profiles.user_profiles`; staged, because they are read twice.
        num_active: Users with an interaction.
        max_segments: Most segments; 0 makes none, and reads the profiles once.
    """
    segments = _fitted(lakehouse, profiles, num_active, max_segments) if max_segments else NO_SEGMENTS
    schema = StructType([*profiles.schema, StructField("segment", StringType()), StructField("taste", StringType())])

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            made = [segments_of(batch["top_categories"], segments), taste_texts(batch)]
            yield pa.RecordBatch.from_arrays([*batch.columns, *made], names=schema.names)

    return profiles.mapInArrow(work, schema)


def _fitted(lakehouse: Lakehouse, profiles: DataFrame, num_active: int, max_segments: int) -> Segments:
    """Segments of the users, or of a part of them, that is the same however they are laid out."""
    num_parts = max(1, num_active // _FITTED_USERS)
    is_own = F.pmod(F.xxhash64("user_id"), F.lit(num_parts)) == 0
    rows = profiles.where(is_own & F.col("top_categories").isNotNull()).select("user_id", "top_categories")
    batches = list(lakehouse.stream_arrow("segment_sample", rows))
    if not batches:
        return NO_SEGMENTS
    table = pa.Table.from_batches(batches)
    ordered = table.take(pc.sort_indices(table["user_id"]))
    return fit_to_lists(one_array(ordered["top_categories"]), max_segments)
