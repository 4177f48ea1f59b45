"""Outcomes of a pair in a part: what heads learn from and are judged by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pyspark.sql import Column
from pyspark.sql import functions as F

from mmrec_lib.ingest.config import EventTypeConfig
from mmrec_lib.models.heads.outcomes import SHARE, VALUE, quantity_name
from mmrec_lib.models.heads_settings import HeadsSettings

OUTCOME_PARTS = ("valid", "test")
"""Parts whose outcomes are kept: nothing learns from those of train, which the first stage has seen."""


@dataclass(frozen=True)
class Outcome:
    """An outcome that events can tell.

    Attributes:
        name: The event type, or the act that several types tell of; with `>=` and a level, or the kind of a quantity.
        types: Event types that tell of it.
        kind: happened, a value of at least `level`, the latest value, or the largest share of `full_seconds`.
        level: Lowest high value; 0 for other kinds.
    """

    name: str
    types: tuple[str, ...]
    kind: Literal["happened", "high", "value", "share"]
    level: float = 0.0


def possible_outcomes(
    event_types: Mapping[str, EventTypeConfig],
    present: Collection[str],
    settings: HeadsSettings,
    *,
    has_shares: bool,
) -> list[Outcome]:
    """Outcomes that the event types which occur can tell, by name; searches and what else has no weight tell none.

    Args:
        event_types: The declared types.
        present: Types that occur.
        settings: Which ones are wanted.
        has_shares: Whether a length says when a view counts in full.
    """
    acts: dict[str, list[str]] = {}
    for name in sorted(set(event_types) & set(present)):
        if event_types[name].weight > 0:
            acts.setdefault(event_types[name].act or name, []).append(name)
    found = []
    for act, names in acts.items():
        types = tuple(names)
        found.append(Outcome(act, types, "happened"))
        with_value = [event_types[name] for name in names if event_types[name].needs_value]
        if with_value:
            (low, high), *others = {(kind.value_min, kind.value_max) for kind in with_value}
            if others:
                # Values of different scales are neither one quantity nor have they a level in common.
                continue
            found.append(Outcome(quantity_name(act, VALUE), types, "value"))
            if low is not None and high is not None:
                level = low + settings.high_from * (high - low)
                found.append(Outcome(f"{act}>={level:g}", types, "high", level))
        elif has_shares:
            found.append(Outcome(quantity_name(act, SHARE), types, "share"))
    return [outcome for outcome in found if settings.outcomes is None or outcome.name in settings.outcomes]


def part_outcomes(outcomes: Sequence[Outcome], part: str, view_seconds_full: float | None) -> Column:
    """Aggregate of the events of a pair: a map from outcome to 1 or to its quantity; null without any.

    The events need the columns `value` and `seconds`; those without weight tell nothing, as they are no interactions.
    """
    entries: list[Column] = []
    for outcome in outcomes:
        is_told = (F.col("part") == part) & F.col("event_type").isin(list(outcome.types)) & (F.col("weight") > 0)
        entries += [F.lit(outcome.name), _aggregate(outcome, is_told, view_seconds_full)]
    told = F.map_filter(F.create_map(*entries), lambda _, value: value.isNotNull())
    return F.when(F.size(told) > 0, told)


def _aggregate(outcome: Outcome, is_told: Column, view_seconds_full: float | None) -> Column:
    if outcome.kind == "share":
        share = F.least(F.lit(1.0), F.greatest(F.lit(0.0), F.col("seconds") / F.lit(view_seconds_full)))
        return F.max(F.when(is_told & F.col("seconds").isNotNull(), share))
    # The larger one of values of the same time, so that no order of the events decides.
    latest = F.max(F.when(is_told & F.col("value").isNotNull(), F.struct("event_ts", "value")))["value"]
    if outcome.kind == "value":
        return latest
    if outcome.kind == "high":
        return F.when(latest >= F.lit(outcome.level), F.lit(1.0))
    return F.max(F.when(is_told, F.lit(1.0)))
