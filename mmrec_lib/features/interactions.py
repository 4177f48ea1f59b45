"""Events → weighted interactions with a time and a part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.errors import NoDataError
from mmrec_lib.features.acts import NO_TIME, Span, count_acts_once, countable
from mmrec_lib.features.config import AUTO, BY_TIME, BY_USER_TIME, FeaturesConfig
from mmrec_lib.features.outcomes import OUTCOME_PARTS, Outcome, part_outcomes
from mmrec_lib.ingest.config import EventTypeConfig

PARTS = ("train", "valid", "test")
GIVEN = "given"
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Cuts:
    """Times at which train, valid and test end.

    Attributes:
        as_of: Events before this UTC date count; 1970-01-01 means that the events have no times.
        source: given when the events brought their split, else the split that was made; see `FeaturesConfig.split`.
        valid_from: First time of valid; None unless parts follow each other in time.
        test_from: First time of test; None unless parts follow each other in time.
    """

    as_of: date
    source: str
    valid_from: datetime | None = None
    test_from: datetime | None = None

    @property
    def given(self) -> bool:
        """True when the events brought their split."""
        return self.source == GIVEN

    def before(self, fit: str) -> datetime | None:
        """Nothing from this time on may be known to a fit; None where times do not say."""
        if self.source in (GIVEN, BY_TIME) and fit == "fit3" and self.as_of != NO_TIME:
            return datetime.combine(self.as_of, time(), UTC)
        return {"fit1": self.valid_from, "fit2": self.test_from}.get(fit)


def weigh_events(
    acts: DataFrame,
    event_types: Mapping[str, EventTypeConfig],
    config: FeaturesConfig,
    span: Span,
    as_of: date,
    *,
    with_outcomes: bool = False,
) -> DataFrame:
    """Acts of users on items before the as-of date, with their weights.

    Args:
        acts: See `known_acts`.
        event_types: The declared types; others do not count.
        config: Half-life and watch time.
        span: What the acts are as a whole.
        as_of: See `resolve_as_of`.
        with_outcomes: Keep what outcomes need besides.

    Returns:
        user_id, item_id, event_type, event_ts, split, value, weight (double, may be 0 or below), is_seen
        (boolean, whether the event still hides its item on that date); with outcomes also seconds; and device, where
        acts have it.

    Raises:
        NoDataError: When no declared type occurs.
    """
    present = {name: kind for name, kind in event_types.items() if name in span.types}
    if not present:
        raise NoDataError(
            f"No event counts as an interaction: the store has events of the types {sorted(span.types)}, and `events` "
            f"in the config declares {sorted(event_types)}."
        )
    counted = countable(acts, span, as_of).where(F.col("event_type").isin(sorted(present)))
    weight = _by_type(present, lambda kind: _type_weight(kind, config))
    if config.half_life_days is not None and as_of != NO_TIME:
        age_days = F.lit(datetime.combine(as_of, time(), UTC)).cast("double") - F.col("event_ts").cast("double")
        weight = weight * F.pow(F.lit(0.5), age_days / F.lit(config.half_life_days * _SECONDS_A_DAY))
    weighted = counted.select(
        "user_id",
        "item_id",
        "event_type",
        "event_ts",
        "split",
        "value",
        weight.alias("weight"),
        _by_type(present, lambda kind: _is_hidden(kind, as_of)).alias("is_seen"),
        *(["seconds"] if with_outcomes else []),
        *(["device"] if "device" in acts.columns else []),
    )
    return count_acts_once(weighted, present, span.types)


def _by_type(event_types: Mapping[str, EventTypeConfig], value: Callable[[EventTypeConfig], Column]) -> Column:
    chosen: Column | None = None
    for name, kind in sorted(event_types.items()):
        matches = F.col("event_type") == name
        chosen = F.when(matches, value(kind)) if chosen is None else chosen.when(matches, value(kind))
    assert chosen is not None
    return chosen


def _is_hidden(kind: EventTypeConfig, as_of: date) -> Column:
    """True where an event of a type still keeps its item from being recommended again on the as-of date."""
    if not kind.counts_as_seen or kind.seen_days is None or as_of == NO_TIME:
        return F.lit(kind.counts_as_seen)
    micros = F.unix_micros("event_ts")
    oldest = int(datetime.combine(as_of, time(), UTC).timestamp() * 1e6 - kind.seen_days * _SECONDS_A_DAY * 1e6)
    return (micros >= F.lit(oldest)) | (micros <= 0)


def _type_weight(kind: EventTypeConfig, config: FeaturesConfig) -> Column:
    weight = F.lit(float(kind.weight))
    if config.view_seconds_full is not None:
        share = F.least(F.lit(1.0), F.col("seconds") / F.lit(config.view_seconds_full))
        weight = weight * F.coalesce(share, F.lit(1.0))
    if kind.low_value_below is not None and kind.low_value_means != "positive":
        factor = 0.0 if kind.low_value_means == "ignore" else -1.0
        is_low = F.coalesce(F.col("value") < F.lit(kind.low_value_below), F.lit(False))
        weight = F.when(is_low, weight * F.lit(factor)).otherwise(weight)
    return weight


def find_cuts(weighted: DataFrame, config: FeaturesConfig, as_of: date) -> Cuts:
    """Find where train, valid and test end: by the given split, else by time, so that a cut falls between time stamps.

    Splits that are not by time (`FeaturesConfig.split`) have no such times; see `splits.split_parts`.

    The first `train_share` of the events in time are train; events of the same time as the first of the next part go
    there too. Exact up to a million events, within a millionth of the events above.

    Raises:
        NoDataError: When there is neither a split nor a time, or no interaction at all.
    """
    counts = (
        weighted.where(F.col("weight") > 0)
        .agg(F.count(F.lit(1)).alias("rows"), F.count("split").alias("with_split"))
        .collect()[0]
    )
    if counts["rows"] == 0:
        raise NoDataError(
            "No event counts as an interaction: check `events` in the config (weights) and the as-of date."
        )
    if counts["with_split"]:
        return Cuts(as_of, GIVEN)
    if as_of == NO_TIME and config.split in (AUTO, BY_TIME, BY_USER_TIME):
        raise NoDataError(
            "The events have neither times nor a `split` column that counts, so they cannot be divided into train, "
            f"valid and test by features.split={config.split}. Deliver one of them, or choose random_by_item."
        )
    if config.split not in (AUTO, BY_TIME):
        return Cuts(as_of, config.split)
    # The event at position floor(share * n), counted from 0, opens the next part.
    total = counts["rows"]
    shares = [config.train_share, config.train_share + config.valid_share]
    ranks = [(int(share * total + 1e-9) + 0.5) / total for share in shares]
    micros = F.unix_micros("event_ts")
    opening = (
        weighted.where(F.col("weight") > 0)
        .agg(F.percentile_approx(micros, ranks, 1_000_000).alias("cuts"))
        .collect()[0]["cuts"]
    )
    valid_from, test_from = (datetime.fromtimestamp(micro / 1e6, UTC) for micro in opening)
    return Cuts(as_of, BY_TIME, valid_from=valid_from, test_from=test_from)


def assign_parts(weighted: DataFrame, cuts: Cuts) -> DataFrame:
    """Add the column part: train, valid or test. Events without a split among ones that have it are train."""
    if cuts.given:
        return weighted.withColumn("part", F.coalesce(F.col("split"), F.lit("train")))
    part = (
        F.when(F.col("event_ts") < F.lit(cuts.valid_from), "train")
        .when(F.col("event_ts") < F.lit(cuts.test_from), "valid")
        .otherwise("test")
    )
    return weighted.withColumn("part", part)


def pair_interactions(
    parted: DataFrame, outcomes: Sequence[Outcome] = (), view_seconds_full: float | None = None
) -> DataFrame:
    """One row a user and item, with each part's summed weight and latest time; parts that do not sum above 0 are null.

    Args:
        parted: Events with their weights and parts.
        outcomes: Outcomes to tell of the parts that are held out.
        view_seconds_full: Length of a view that counts in full.

    Returns:
        user_id, item_id, train_weight, valid_weight, test_weight, train_ts, valid_ts, test_ts, valid_outcomes,
        test_outcomes; these are null without outcomes; and train_device, valid_device and test_device, that of the
        latest event, where events have a device.
    """
    # Rounded, so that the order of addition cannot make two runs differ.
    sums = [F.round(F.sum(F.when(F.col("part") == part, F.col("weight"))), 6).alias(f"{part}_weight") for part in PARTS]
    latest = [
        F.max(F.when((F.col("part") == part) & (F.col("weight") > 0), F.col("event_ts"))).alias(f"{part}_ts")
        for part in PARTS
    ]
    parts = OUTCOME_PARTS if outcomes else ()
    told = [part_outcomes(outcomes, part, view_seconds_full).alias(f"{part}_outcomes") for part in parts]
    devices = part_devices(parted.columns)
    pairs = parted.groupBy("user_id", "item_id").agg(*sums, *latest, *told, *devices)
    positive = [F.when(F.col(f"{part}_weight") > 0, F.col(f"{part}_weight")).alias(f"{part}_weight") for part in PARTS]
    times = [F.when(F.col(f"{part}_weight") > 0, F.col(f"{part}_ts")).alias(f"{part}_ts") for part in PARTS]
    own = [
        F.when(F.col(f"{part}_weight") > 0, F.col(f"{part}_outcomes")).alias(f"{part}_outcomes")
        for part in OUTCOME_PARTS
    ]
    nothing = [F.lit(None).cast("map<string,double>").alias(f"{part}_outcomes") for part in OUTCOME_PARTS]
    asked = [f"{part}_device" for part in PARTS] if devices else []
    chosen = pairs.select("user_id", "item_id", *positive, *times, *(own if outcomes else nothing), *asked)
    return chosen.where(F.coalesce("train_weight", "valid_weight", "test_weight").isNotNull())


def part_devices(columns: Collection[str]) -> list[Column]:
    """Aggregates of the events of a pair: the device of the latest event of each part; none without that column."""
    if "device" not in columns:
        return []
    found = []
    for part in PARTS:
        counts = (F.col("part") == part) & (F.col("weight") > 0)
        # The larger name of events of one time, so that no order of the events decides.
        found.append(F.max(F.when(counts, F.struct("event_ts", "device")))["device"].alias(f"{part}_device"))
    return found
