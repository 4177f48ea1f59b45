"""Acts: events and reviews that count, of users and items that the store has, and their span in time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.errors import NoDataError
from mmrec_lib.ingest.config import EventTypeConfig

NO_TIME = date(1970, 1, 1)
REVIEW, COMMENT = "review", "comment"
_COLUMNS = ("user_id", "item_id", "event_type", "value", "seconds", "event_ts", "split")

# A newest event is far from the mass when it lies further after it than this share of the span of the mass.
_FAR_SHARE = 0.25
_FAR_LEAST = timedelta(days=7)
# With fewer dated acts the mass is nine in ten of them, else 99 in 100.
_MANY = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """Summary of all acts of a store.

    Attributes:
        first: Earliest date.
        newest: Latest time; 1970-01-01 where nothing has a time.
        types: Event types that occur.
        has_split: Whether the source brings its own split.
        mass_from: Time before which one in a hundred of the dated acts lies; None where nothing has a time.
        mass_until: Time after which one in a hundred lies (one in ten of few).
    """

    first: date
    newest: datetime
    types: frozenset[str]
    has_split: bool
    mass_from: datetime | None = None
    mass_until: datetime | None = None

    @property
    def far_ahead(self) -> timedelta | None:
        """Distance of the newest act from the end of the mass, where it is suspiciously large; else None."""
        if self.mass_from is None or self.mass_until is None:
            return None
        ahead = self.newest - self.mass_until
        limit = max(_FAR_LEAST, (self.mass_until - self.mass_from) * _FAR_SHARE)
        return ahead if ahead > limit else None


def known_acts(events: DataFrame, reviews: DataFrame | None, users: DataFrame, items: DataFrame) -> DataFrame:
    """Events, and reviews as events, of users that the store has, on items that it has or on none.

    What a deleted user did, and what anybody did with a deleted item, is left out here and so everywhere after.

    Args:
        events: Table event.
        reviews: Table review, which count as event types `review` (with a rating) and `comment` (without); None leaves
            them out.
        users: Table user.
        items: Table item.

    Returns:
        user_id, item_id, event_type, value, seconds, event_ts, split, is_review; and device, where events have it.
    """
    columns = (*_COLUMNS, *(["device"] if "device" in events.columns else []))
    acts = events.select(*columns, F.lit(False).alias("is_review"))
    if reviews is not None:
        acts = acts.unionByName(review_acts(reviews), allowMissingColumns=True)
    of_users = acts.join(users.select("user_id"), "user_id", "left_semi")
    there = items.select("item_id", F.lit(True).alias("_is_there"))
    known = of_users.join(there, "item_id", "left").where(F.col("item_id").isNull() | F.col("_is_there"))
    return known.select(*columns, "is_review")


def review_acts(reviews: DataFrame) -> DataFrame:
    """Reviews in the columns of `known_acts`."""
    return reviews.select(
        "user_id",
        "item_id",
        F.when(F.col("rating").isNotNull(), REVIEW).otherwise(COMMENT).alias("event_type"),
        F.col("rating").alias("value"),
        F.lit(None).cast("double").alias("seconds"),
        F.col("review_ts").alias("event_ts"),
        F.lit(None).cast("string").alias("split"),
        F.lit(True).alias("is_review"),
    )


def find_span(acts: DataFrame) -> Span:
    """Look at all acts at once, in one Spark job; reviews count only where the source brings no split.

    Raises:
        NoDataError: When there is nothing to look at.
    """
    micros = F.unix_micros("event_ts")
    dated = F.when(micros > 0, micros)
    groups = (
        acts.rollup("is_review")
        .agg(
            F.grouping("is_review").alias("is_total"),
            F.count(F.lit(1)).alias("rows"),
            F.min("event_ts").cast("date").alias("first"),
            F.max(micros).alias("newest"),
            F.collect_set("event_type").alias("types"),
            F.count("split").alias("with_split"),
            F.count(dated).alias("dated"),
            F.percentile_approx(dated, [0.01, 0.9, 0.99], 10_000).alias("mass"),
        )
        .collect()
    )
    by_kind = {"all" if row["is_total"] else ("reviews" if row["is_review"] else "events"): row for row in groups}
    events = by_kind.get("events")
    row = events if events is not None and events["with_split"] else by_kind.get("all")
    if row is None or not row["rows"]:
        raise NoDataError(
            "There are no accepted events or reviews of users and items that the store has, so nothing can be learned. "
            "Look into the table quarantine for why; features.count_reviews=false leaves reviews out."
        )
    mass = row["mass"]
    return Span(
        first=row["first"],
        newest=_time(row["newest"]),
        types=frozenset(row["types"]),
        has_split=bool(row["with_split"]),
        mass_from=_time(mass[0]) if mass else None,
        mass_until=_time(mass[2 if row["dated"] >= _MANY else 1]) if mass else None,
    )


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def resolve_as_of(span: Span, wanted: date | None) -> date:
    """The as-of date: the one asked for, else the day after the latest act, else 1970-01-01 without times.

    Raises:
        NoDataError: When there is nothing before the date asked for.
    """
    last = span.newest.date()
    if last == NO_TIME:
        return NO_TIME
    if wanted is None:
        return last + timedelta(days=1)
    if span.first >= wanted:
        raise NoDataError(
            f"AS_OF {wanted}: the first accepted event is of {span.first}, so nothing is known before that date. "
            f"Choose a date from {span.first + timedelta(days=1)} to {last + timedelta(days=1)}."
        )
    return wanted


def warn_of_newest(acts: DataFrame, span: Span, wanted: date | None) -> str | None:
    """A sentence with numbers when as-of follows from a newest act far after all others; costs nothing otherwise."""
    if wanted is not None or span.far_ahead is None or span.mass_until is None:
        return None
    halfway = span.newest - span.far_ahead / 2
    num_far = acts.where(F.col("event_ts") > F.lit(halfway)).count()
    return (
        f"warning: the newest event is of {span.newest:%Y-%m-%d %H:%M} UTC, {span.far_ahead.days} days after the mass "
        f"of the events, which ends on {span.mass_until:%Y-%m-%d} ({num_far:,} so far ahead), and the as-of date "
        f"follows from it. If its time is wrong, give AS_OF={span.mass_until.date() + timedelta(days=1)} or so"
    )


def countable(acts: DataFrame, span: Span, as_of: date) -> DataFrame:
    """Acts on items before the as-of date. Reviews that cannot be placed against a split or in time are left out."""
    on_items = acts.where(F.col("item_id").isNotNull())
    if span.has_split:
        on_items = on_items.where(~F.col("is_review"))
    if as_of == NO_TIME:
        return on_items
    midnight = datetime.combine(as_of, time(), UTC)
    undated_review = F.col("is_review") & (F.unix_micros("event_ts") <= 0)
    return on_items.where((F.col("event_ts") < F.lit(midnight)) & ~undated_review)


def count_acts_once(
    weighted: DataFrame, event_types: Mapping[str, EventTypeConfig], present: Collection[str]
) -> DataFrame:
    """Of event types that tell of one act, let the one that weighs most count for a user and an item.

    Each event weighs what it adds to the largest sum of one type so far, so that sums over any stretch of time from
    the beginning are those of the largest type, and an event's weight never depends on a later one.

    Args:
        weighted: user_id, item_id, event_type, event_ts, weight and more.
        event_types: Which types name the same `act`.
        present: Event types that occur; acts that only one of them tells of are left as they are.
    """
    acts: dict[str, list[str]] = {}
    for name in sorted(set(event_types) & set(present)):
        act = event_types[name].act
        if act is not None:
            acts.setdefault(act, []).append(name)
    for names in acts.values():
        if len(names) > 1:
            weighted = _largest_type(weighted, names)
    return weighted


def _largest_type(weighted: DataFrame, names: list[str]) -> DataFrame:
    told = F.col("event_type").isin(names)
    of_act = weighted.where(told)
    order = Window.partitionBy("user_id", "item_id").orderBy("event_ts", "event_type", "weight")
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    sums = [F.sum(F.when(F.col("event_type") == name, F.col("weight"))).over(so_far) for name in names]
    added = (
        of_act.withColumn("_largest", F.greatest(*sums))
        .withColumn("_before", F.coalesce(F.lag("_largest").over(order), F.lit(0.0)))
        .withColumn("weight", F.round(F.col("_largest") - F.col("_before"), 9))
    )
    return weighted.where(~told).unionByName(added.select(*weighted.columns))
