"""Groups of users and of items, the metrics of each, and the gap between them."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.evaluation.config import GroupConfig
from mmrec_lib.evaluation.head_metrics import is_head
from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.evaluation.rankings import Rankings, only_columns
from mmrec_lib.evaluation.rows import MetricRow, cut_off_of, metric_of
from mmrec_lib.evaluation.significance import mean_intervals, weighted_mean_values

GROUP_METRICS = ("ndcg", "recall")
GAP_METRICS = tuple(f"{metric}_gap" for metric in GROUP_METRICS)
TERCILES = ("low", "medium", "high")


@dataclass(frozen=True)
class GroupFacts:
    """Facts that groups are made of, besides behaviour.

    Attributes:
        user_attributes: For each attribute [num_users] values, None where unknown.
        has_modality: For each modality [num_items] True for items that have a content of it.
    """

    user_attributes: Mapping[str, NDArray[np.object_]]
    has_modality: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Grouping:
    """A division of the evaluated users, or of the items, into groups.

    Attributes:
        name: Name, such as `activity`: the segment of the gap; the segment of a group is `<name>:<group>`.
        of: users, whose values are averaged by group; or items, of which only those of the group count as relevant,
            ranked among all, for the users who have such an item.
        groups: Names of the groups.
        codes: [n] or [num_items] position of each one's group; -1 for none.
        in_segments: True where the groups are segments of their own, so that only the gap is told.
    """

    name: str
    of: Literal["users", "items"]
    groups: tuple[str, ...]
    codes: NDArray[np.integer[Any]]
    in_segments: bool = False


def make_groupings(rankings: Rankings, facts: GroupFacts, config: GroupConfig) -> list[Grouping]:
    """The groupings of an evaluation: history, activity, user attributes, popularity of items and their modalities."""
    if config.max_values < 2:
        return []
    num_seen = rankings.num_seen[rankings.users]
    attributes = {name: values[rankings.users] for name, values in facts.user_attributes.items()}
    return [
        Grouping("history", "users", ("cold", "warm"), (num_seen > 0).astype(np.int8), in_segments=True),
        Grouping("activity", "users", TERCILES, activity_terciles(num_seen)),
        *attribute_groupings(attributes, config),
        Grouping("popularity", "items", ("head", "tail"), head_and_tail(rankings.popularity, config.head_share)),
        *(
            Grouping(f"modality_{name}", "items", ("without", "with"), has.astype(np.int8))
            for name, has in sorted(facts.has_modality.items())
        ),
    ]


def activity_terciles(num_seen: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    """[n] 0, 1 or 2: the third of the users with history that a user's number of items lies in; -1 without history.

    Users with as many items are in one third, so that thirds may differ in size.
    """
    active = num_seen[num_seen > 0]
    edges = np.quantile(active, [1 / 3, 2 / 3]) if active.size else np.zeros(2)
    return np.where(num_seen > 0, np.searchsorted(edges, num_seen, side="left"), -1).astype(np.int8)


def head_and_tail(popularity: NDArray[np.integer[Any]], head_share: float) -> NDArray[np.int8]:
    """[num_items] 0 for the most popular share of the items with an interaction, 1 for the others, -1 without any.

    Items as popular as the first one of the tail are in the tail.
    """
    known = np.sort(popularity[popularity > 0])[::-1]
    num_head = round(head_share * known.size)
    first_of_tail = known[num_head] if num_head < known.size else 0
    return np.where(popularity == 0, -1, np.where(popularity > first_of_tail, 0, 1)).astype(np.int8)


def attribute_groupings(attributes: Mapping[str, NDArray[np.object_]], config: GroupConfig) -> Iterator[Grouping]:
    """The attributes that most users have, each with its most frequent values; those of a single value tell nothing."""
    counts = {
        name: Counter(value for value in values.tolist() if value is not None) for name, values in attributes.items()
    }
    large = {
        name: {value: number for value, number in found.items() if number >= config.min_users}
        for name, found in counts.items()
    }
    telling = [name for name, found in large.items() if len(found) > 1]
    for name in sorted(sorted(telling, key=lambda name: (-sum(large[name].values()), name))[: config.max_attributes]):
        groups = sorted(sorted(large[name], key=lambda value: (-large[name][value], value))[: config.max_values])
        place = {value: code for code, value in enumerate(groups)}
        codes = np.array([place.get(value, -1) for value in attributes[name].tolist()], dtype=np.int32)
        yield Grouping(f"user_{name}", "users", tuple(groups), codes)


def group_rows(
    rankings: Rankings, groupings: Iterable[Grouping], config: GroupConfig, *, num_bootstrap: int, seed: int
) -> list[MetricRow]:
    """Rows of each group with enough users, and of the gap between the best and the worst group of each model.

    The gap is the distance between the largest and the smallest value of the groups, as demographic parity difference
    in M. Hardt, E. Price, N. Srebro 2016, Equality of Opportunity in Supervised Learning, is of two. Its interval
    speaks of the two groups that are farthest apart, by resamples of all users: it may hold zero, which means that
    chance explains the gap.

    Args:
        rankings: Of all models.
        groupings: Divisions of users and items; those without two groups of enough users give no rows.
        config: Least users of a group.
        num_bootstrap: Resamples of users.
        seed: Same seed, same intervals.
    """
    names = [f"{metric}@{min(rankings.ks)}" for metric in GROUP_METRICS]
    keys: list[_Key] = []
    columns: list[NDArray[np.float64]] = []
    for grouping in groupings:
        by_group = _values_by_group(rankings, grouping, names)
        large = {group: values for group, values in by_group.items() if _num_users(values) >= config.min_users}
        if len(large) > 1:
            for key, column in _columns_of(grouping, large, list(rankings.whole.lists), names):
                keys.append(key)
                columns.append(column)
    if not columns:
        return []
    values_NM = np.stack(columns, axis=1)
    ends = mean_intervals(values_NM, num_bootstrap, zlib.crc32(f"{seed}:groups".encode()))
    return [
        MetricRow(model, segment, metric_of(name), cut_off_of(name), value, low, high, num_users=num)
        for (model, segment, name, num), value, low, high in zip(
            keys, values_NM.mean(axis=0).tolist(), *(end.tolist() for end in ends), strict=True
        )
    ]


_Key = tuple[str, str, str, int]
"""Model, segment, name of the metric and number of users of a row."""
GroupValues = dict[tuple[str, str], NDArray[np.float64]]
"""By model and metric: [n] values of all evaluated users, NaN for those who are not of the group."""


def _values_by_group(rankings: Rankings, grouping: Grouping, names: Sequence[str]) -> dict[str, GroupValues]:
    whole, by_group = rankings.whole, {}
    for code, group in enumerate(grouping.groups):
        if grouping.of == "users":
            inside = grouping.codes == code
            values = whole.values
        else:
            relevant = only_columns(whole.relevant, grouping.codes == code)
            inside = np.diff(relevant.indptr) > 0
            values = {model: list_metrics(top, relevant, (min(rankings.ks),)) for model, top in whole.lists.items()}
        by_group[group] = {
            (model, name): np.where(inside, own[name], np.nan) for model, own in values.items() for name in names
        }
    return by_group


def _num_users(values: GroupValues) -> int:
    return int((~np.isnan(next(iter(values.values())))).sum())


def _columns_of(
    grouping: Grouping, by_group: Mapping[str, GroupValues], models: Sequence[str], names: Sequence[str]
) -> Iterator[tuple[_Key, NDArray[np.float64]]]:
    """Columns over all evaluated users whose means are the values of the groups and of their gap."""
    for model in models:
        for name in names:
            linear = {group: _linear(values[model, name]) for group, values in by_group.items()}
            means = {group: float(column.mean()) for group, column in linear.items()}
            best, worst = max(means, key=lambda group: means[group]), min(means, key=lambda group: means[group])
            if not grouping.in_segments:
                for group, column in linear.items():
                    yield (model, f"{grouping.name}:{group}", name, _num_users(by_group[group])), column
            gap = linear[best] - linear[worst]
            yield (model, grouping.name, name.replace("@", "_gap@"), len(gap)), gap


def _linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of all users whose mean is that of the group; see `weighted_mean_values`."""
    return weighted_mean_values(np.nan_to_num(values), ~np.isnan(values))


def is_group(row: MetricRow) -> bool:
    """True for rows of groups and of their gaps, whose segments are made of data."""
    return (":" in row.segment and not is_head(row)) or row.metric in GAP_METRICS
