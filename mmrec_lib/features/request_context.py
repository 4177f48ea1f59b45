"""The context of requests in a snapshot: devices of interactions, last searches of users, and words of items."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.features.config import BY_TIME
from mmrec_lib.features.interactions import PARTS, Cuts
from mmrec_lib.models.attributes import group_value
from mmrec_lib.models.data import Ints
from mmrec_lib.models.request_context import Searches

SEARCHES_TYPE = "array<struct<ts:timestamp,words:string>>"
# Latest searches of a user that a snapshot keeps: windows look back from cuts of their own. Of each so many characters,
# of which the first eight words are read.
_MAX_SEARCHES, _MAX_CHARACTERS = 100, 500


def with_devices(events: DataFrame, attribute: str) -> DataFrame:
    """Events with their device, in lower case; null where it is unknown.

    Args:
        events: Table event.
        attribute: Attribute of events that names the device.
    """
    name = F.nullif(F.trim(F.lower(F.try_element_at("attributes", F.lit(attribute)))), F.lit(""))
    return events.withColumn("device", name)


def with_device_columns(pairs: DataFrame) -> DataFrame:
    """Pairs with all columns of devices, null where none were asked for."""
    missing = [f"{part}_device" for part in PARTS if f"{part}_device" not in pairs.columns]
    return pairs.withColumns({name: F.lit(None).cast("string") for name in missing})


def user_searches(events: DataFrame, users: DataFrame, cuts: Cuts) -> DataFrame | None:
    """The latest searches of each user before the as-of date: user_id, searches, the latest last.

    Args:
        events: Table event.
        users: Table user.
        cuts: Cuts of the snapshot. None comes back unless the parts follow each other in time, because else no fit
            knows what was searched before its lists.
    """
    if cuts.source != BY_TIME:
        return None
    midnight = datetime.combine(cuts.as_of, time(), UTC)
    is_search = (F.trim("query") != "") & (F.unix_micros("event_ts") > 0) & (F.col("event_ts") < F.lit(midnight))
    searches = events.where(is_search).join(users.select("user_id"), "user_id", "left_semi")
    words = F.substring("query", 1, _MAX_CHARACTERS)
    told = F.array_sort(F.collect_list(F.struct(F.col("event_ts").alias("ts"), words.alias("words"))))
    latest = F.slice(F.col("searches"), -F.least(F.size("searches"), F.lit(_MAX_SEARCHES)), _MAX_SEARCHES)
    return searches.groupBy("user_id").agg(told.alias("searches")).select("user_id", latest.alias("searches"))


def with_searches(users: DataFrame, searches: DataFrame | None) -> DataFrame:
    """Users with their searches, null without any."""
    if searches is None:
        return users.withColumn("searches", F.lit(None).cast(SEARCHES_TYPE))
    return users.join(searches, "user_id", "left")


def with_last_search(profiles: DataFrame, searches: DataFrame | None) -> DataFrame:
    """Profiles with the words of each user's last search, null without any."""
    last = F.try_element_at("searches", F.lit(-1))["words"]
    return with_searches(profiles, searches).withColumn("last_search", last).drop("searches")


def searches_of_lists(lists: pa.ListArray) -> Searches | None:
    """Searches of users from the column of `training_user`; None where no user has one.

    Args:
        lists: [U] searches of each user.
    """
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    if not lengths.sum():
        return None
    flat = lists.flatten()
    seconds = flat.field("ts").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
    return Searches.of(np.repeat(np.arange(len(lists)), lengths), seconds, flat.field("words").to_pylist())


class DeviceCodes:
    """Numbers of devices in the order in which they come, and their positions in the order of their names."""

    def __init__(self) -> None:
        """Begin without names."""
        self._code_of: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names, sorted."""
        return tuple(sorted(self._code_of))

    def in_order(self, codes: Ints) -> Ints:
        """Positions in `names` of codes, once all have come: they do not depend on the order of rows; -1 stays."""
        place = {name: at for at, name in enumerate(self.names)}
        found: Ints = np.array([*(place[name] for name in self._code_of), -1], dtype=np.int64)[codes]
        return found

    def codes(self, column: pa.Array) -> Ints:
        """Code of each value, -1 for null."""
        values = column.dictionary_encode()
        named = [group_value(value) for value in values.dictionary.to_pylist()]
        own = [-1 if name is None else self._code_of.setdefault(name, len(self._code_of)) for name in named]
        at = values.indices.fill_null(len(own)).to_numpy(zero_copy_only=False)
        found: Ints = np.array([*own, -1], dtype=np.int64)[at]
        return found


def text_column(texts: Sequence[str | None]) -> npt.NDArray[np.object_] | None:
    """Texts of items as an array; None where no item has one."""
    found = np.empty(len(texts), dtype=np.object_)
    found[:] = texts
    return found if any(text is not None for text in texts) else None
