"""Leaks are refused with the rows that leak, for each split; a clean snapshot passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from mmrec_lib.errors import LeakageError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.leakage import LeakageCheck
from mmrec_lib.models.data import Interactions

START = datetime(2026, 1, 1, tzinfo=UTC)
USERS, ITEMS = np.array(["u0", "u1", "u2"]), np.array(["i0", "i1", "i2", "i3"])
Rows = Sequence[tuple[int, int, float]]


def check(
    source: str,
    parts: Mapping[str, Rows],
    content_times: Mapping[tuple[str, str], Sequence[float]] | None = None,
) -> None:
    """Run the checks on (user, item, day) rows; by time, valid begins on day 10, test on day 20 and as-of is day 31."""
    seconds = START.timestamp()
    found = {}
    for part in ("train", "valid", "test"):
        users, items, days = np.array(parts.get(part, ()), dtype=float).reshape(-1, 3).T
        times = seconds + 86_400 * days
        shape = (len(USERS), len(ITEMS))
        found[part] = Interactions.from_rows(users.astype(int), items.astype(int), shape, times=times)
    ends = [START + timedelta(days=days) if source == "by_time" else None for days in (10, 20)]
    times_of = {key: seconds + 86_400 * np.array(days) for key, days in (content_times or {}).items()}
    LeakageCheck(Cuts(date(2026, 2, 1), source, *ends), USERS, ITEMS, found, times_of).run()


CLEAN: dict[str, dict[str, Rows]] = {
    "by_time": {"train": [(0, 0, 0), (1, 0, 9.9)], "valid": [(0, 0, 10)], "test": [(2, 1, 20), (0, 2, 30.9)]},
    "by_user_time": {"train": [(0, 0, 5), (1, 1, 50)], "valid": [(0, 1, 6)], "test": [(0, 0, 7), (1, 2, 51)]},
    "random_by_item": {"train": [(0, 0, 9), (1, 0, 1)], "valid": [(2, 0, 0)], "test": [(0, 1, 0)]},
    "cold_items": {"train": [(0, 0, 9), (1, 0, 1)], "valid": [(0, 1, 0)], "test": [(0, 2, 0), (1, 2, 0)]},
    "cold_users": {"train": [(0, 0, 9), (0, 1, 1)], "valid": [(1, 1, 0)], "test": [(2, 0, 0)]},
    "given": {"train": [(0, 0, 9)], "valid": [(0, 0, 3)], "test": [(0, 0, 1)]},
}
LEAKS = [
    ("by_time", {"train": [(0, 0, 1), (1, 2, 10)]}, "1 of 2 .* part train .* from its cut .*: user u1 on item i2"),
    ("by_time", {"valid": [(0, 0, 9)]}, "part valid .* happened before its cut"),
    ("by_time", {"test": [(0, 0, 31)]}, "part test .* happened from its cut 2026-02-01"),
    ("by_user_time", {"train": [(0, 0, 5)], "test": [(0, 1, 5)]}, "part test .* not after the user's events"),
    ("random_by_item", {"train": [(0, 0, 1)], "test": [(0, 0, 1), (1, 1, 1)]}, "1 of 2 .* in a part before it too"),
    ("random_by_item", {"valid": [(0, 0, 1)], "test": [(0, 0, 1)]}, "part test .* in a part before it too"),
    ("cold_items", {"train": [(0, 2, 1)], "test": [(1, 2, 2)]}, "part test .* of items that a part before it knows"),
    ("held_out_category", {"valid": [(0, 2, 1)], "test": [(1, 2, 2)]}, "items that a part before it knows: user u1"),
    ("cold_users", {"train": [(1, 2, 1)], "valid": [(1, 0, 2)]}, "part valid .* of users that a part before it knows"),
    ("held_out_market", {"train": [(1, 2, 1)], "test": [(1, 0, 2)]}, "of users that a part before it knows"),
]
NEVER = -np.inf


@pytest.mark.parametrize("source", CLEAN)
def test_a_clean_snapshot_passes(source: str) -> None:
    check(source, CLEAN[source])
    check(source, {})


@pytest.mark.parametrize(("source", "parts", "message"), LEAKS)
def test_a_leak_is_refused_with_its_rows(source: str, parts: Mapping[str, Rows], message: str) -> None:
    with pytest.raises(LeakageError, match=message):
        check(source, parts)


def test_text_from_before_the_cut_of_its_fit_passes() -> None:
    check("by_time", {}, {("fit1", "text:review"): [NEVER, 9.9, 1, 0], ("fit3", "text:review"): [30.9, NEVER, 0, 0]})


def test_text_from_after_the_cut_of_its_fit_is_refused_with_its_items() -> None:
    with pytest.raises(LeakageError, match=r"fit2 ends before .*text:review of 2 items .*\(items i1, i3\)"):
        check("by_time", {}, {("fit2", "text:review"): [19.9, 20, NEVER, 25]})


def test_dated_text_in_a_content_of_all_fits_or_of_a_split_without_times_is_refused() -> None:
    with pytest.raises(LeakageError, match="all has no cut in time"):
        check("by_time", {}, {("all", "text:review"): [1, NEVER, NEVER, NEVER]})
    with pytest.raises(LeakageError, match="fit3 has no cut in time"):
        check("cold_items", {}, {("fit3", "text:review"): [1, NEVER, NEVER, NEVER]})
