"""Rules of published lists on Arrow batches: every rule alone, and all of them against a plain reading of the rules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.scoring.list_rules import (
    COUNTED,
    EMPTY,
    ENTRIES,
    GAP,
    LISTS,
    ORDER,
    PROBABILITY,
    SCORE,
    SEEN,
    SHORT,
    TWICE,
    UNAVAILABLE,
    UNKNOWN,
    VALUE,
    WORTH,
    KnownItems,
    check_all,
    check_lists,
)

AVAILABLE = {"a": True, "b": True, "c": True, "d": True, "gone": False}
ITEMS = KnownItems(pa.array(list(AVAILABLE)), np.array(list(AVAILABLE.values())))
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("seen_item_ids", pa.list_(pa.string())),
    ]
)
Row = tuple[Sequence[str | None] | None, Sequence[float | None] | None, Sequence[str] | None]
GOOD: Row = (["a", "b", "c"], [3.0, 2.0, 2.0], ["d"])


def batch_of(rows: Sequence[Row]) -> pa.RecordBatch:
    names = ("item_ids", "scores", "seen_item_ids")
    pairs = [{"user_id": f"u{n}", **dict(zip(names, row, strict=True))} for n, row in enumerate(rows)]
    return pa.RecordBatch.from_pylist(pairs, schema=SCHEMA)


def broken(*rows: Row, k: int = 3) -> dict[str, tuple[int, list[tuple[str, str]]]]:
    found = check_lists(batch_of(rows), ITEMS, k)
    return {rule: (finding.num_rows, finding.examples) for rule, finding in found.items() if rule not in COUNTED}


def test_good_lists_break_no_rule_and_are_counted() -> None:
    found = check_lists(batch_of([GOOD, (["a"], [1.0], None), ([], [], ["a"])]), ITEMS, 3)
    assert {rule: finding.num_rows for rule, finding in found.items()} == {LISTS: 3, ENTRIES: 4, SHORT: 2, EMPTY: 1}


@pytest.mark.parametrize(
    ("row", "rule", "value"),
    [
        ((["a", "b"], [1.0], []), GAP, "2 items, 1 scores"),
        ((None, [1.0], []), GAP, "no list of items, 1 scores"),
        ((["a", None], [2.0, 1.0], []), GAP, "2 items, 2 scores"),
        ((["a", "b", "c", "d"], [4.0, 3.0, 2.0, 1.0], []), GAP, "4 items, 4 scores"),
        ((["a", "b"], [1.0, math.nan], []), SCORE, "score nan"),
        ((["a", "b"], [math.inf, 1.0], []), SCORE, "score inf"),
        ((["a", "b"], [1.0, None], []), SCORE, "score nan"),
        ((["a", "b"], [1.0, 1.5], []), ORDER, "score 1.5 after 1.0"),
        ((["a", "b", "a"], [3.0, 2.0, 1.0], []), TWICE, "item a"),
        ((["a", "x"], [2.0, 1.0], []), UNKNOWN, "item x"),
        ((["a", "gone"], [2.0, 1.0], []), UNAVAILABLE, "item gone"),
        ((["a", "b"], [2.0, 1.0], ["c", "b", "x"]), SEEN, "item b"),
    ],
)
def test_each_rule_tells_the_user_and_the_value(row: Row, rule: str, value: str) -> None:
    assert broken(GOOD, row, GOOD) == {rule: (1, [("u1", value)])}


def test_lists_are_counted_once_a_rule_and_the_first_ones_are_named() -> None:
    bad: Row = (["x", "y"], [2.0, 1.0], None)
    assert broken(bad, GOOD, bad, bad, bad) == {UNKNOWN: (4, [("u0", "item x"), ("u2", "item x"), ("u3", "item x")])}


def test_the_end_of_one_list_is_not_compared_with_the_start_of_the_next() -> None:
    assert broken((["a"], [1.0], []), (["a"], [2.0], ["b"]), (["b"], [3.0], [])) == {}


def test_without_items_every_entry_is_unknown() -> None:
    nothing = KnownItems(pa.array([], pa.string()), np.zeros(0, dtype=np.bool_))
    found = check_lists(batch_of([GOOD]), nothing, 3)
    assert set(found) - set(COUNTED) == {UNKNOWN}


def test_batches_add_up_to_the_rows_of_the_findings() -> None:
    bad: Row = (["a", "a"], [2.0, 1.0], None)
    made = check_all(iter([batch_of([GOOD, bad]), batch_of([bad])]), ITEMS, 3).to_pylist()
    rows = {row["rule"]: row for row in made}
    assert (rows[LISTS]["num_rows"], rows[SHORT]["num_rows"]) == (3, 2)
    assert rows[TWICE] == {"rule": TWICE, "num_rows": 2, "user_ids": ["u1", "u0"], "values": ["item a", "item a"]}
    assert check_all(iter([]), ITEMS, 3).num_rows == 0


def plainly_broken(row: Row, k: int) -> set[str]:
    """The rules as a person reads them."""
    items, scores, seen = list(row[0] or ()), list(row[1] or ()), set(row[2] or ())
    known = [item for item in items if item in AVAILABLE]
    says: dict[str, Any] = {
        GAP: row[0] is None or row[1] is None or len(items) != len(scores) or len(items) > k or None in items,
        SCORE: any(s is None or not math.isfinite(s) for s in scores),
        ORDER: any(b is not None and a is not None and b > a for a, b in itertools.pairwise(scores)),
        TWICE: len(set(known)) < len(known),
        UNKNOWN: any(item is not None and item not in AVAILABLE for item in items),
        UNAVAILABLE: any(not AVAILABLE[item] for item in known),
        SEEN: bool(seen & set(known)),
    }
    return {rule for rule, is_broken in says.items() if is_broken}


IDS = st.sampled_from([*AVAILABLE, "x", "y"])
ROWS = st.tuples(
    st.none() | st.lists(st.none() | IDS, max_size=5),
    st.none() | st.lists(st.none() | st.sampled_from([0.0, -1.0, 1.0, math.nan, math.inf]), max_size=5),
    st.none() | st.lists(IDS, max_size=3),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(1, 5))
def test_the_rules_agree_with_a_plain_reading_of_them(rows: list[Row], k: int) -> None:
    found = broken(*rows, k=k)
    expected: dict[str, int] = {}
    for row in rows:
        for rule in plainly_broken(row, k):
            expected[rule] = expected.get(rule, 0) + 1
    assert {rule: number for rule, (number, _) in found.items()} == expected


def told_batch(
    probabilities: list[list[tuple[str, float]]] | None, worths: list[float | None] | None
) -> pa.RecordBatch:
    """Two lists of which the second has values of heads."""
    maps = pa.list_(pa.map_(pa.string(), pa.float64()))
    batch = batch_of([GOOD, GOOD])
    batch = batch.append_column("probabilities", pa.array([None, probabilities], maps))
    return batch.append_column("expected_worths", pa.array([None, worths], pa.list_(pa.float64())))


@pytest.mark.parametrize(
    ("probabilities", "worths", "broken_rule"),
    [
        (None, None, None),
        ([], [], None),
        ([[("view", 0.0), ("buy", 1.0)], [("view", 0.5)]], [-3.0, 2.0], None),
        ([[("view", 0.2)], [("view", 0.3), ("buy", 1.01)]], None, (PROBABILITY, "probability 1.01")),
        ([[("view", math.nan)]], None, (PROBABILITY, "probability nan")),
        ([[("view", -0.1)]], None, (PROBABILITY, "probability -0.1")),
        (None, [1.0, math.inf], (WORTH, "worth inf")),
    ],
)
def test_probabilities_and_worths_are_numbers_in_their_bounds(
    probabilities: list[list[tuple[str, float]]] | None,
    worths: list[float | None] | None,
    broken_rule: tuple[str, str] | None,
) -> None:
    found = check_lists(told_batch(probabilities, worths), ITEMS, 3)
    told = {rule: finding.examples for rule, finding in found.items() if rule not in COUNTED}
    assert told == ({} if broken_rule is None else {broken_rule[0]: [("u1", broken_rule[1])]})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_expected_values_are_finite(value: float) -> None:
    maps = pa.list_(pa.map_(pa.string(), pa.float64()))
    good, bad = [[("buy:price", 9e9)]], [[("buy:price", 1.0)], [("buy:price", value)]]
    batch = batch_of([GOOD, GOOD, GOOD]).append_column("expected_values", pa.array([None, good, bad], maps))
    told = {rule: finding.examples for rule, finding in check_lists(batch, ITEMS, 3).items() if rule not in COUNTED}
    assert told == {VALUE: [("u2", f"value {value}")]}
