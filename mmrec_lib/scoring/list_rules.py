"""Rules of a published list, on Arrow batches of one row a user: what breaks one of them, with examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

GAP, SCORE, ORDER, TWICE = "gap", "score", "order", "twice"
UNKNOWN, UNAVAILABLE, SEEN = "unknown", "unavailable", "seen"
PROBABILITY, VALUE, WORTH = "probability", "value", "worth"
LIST_RULES = {
    GAP: "have a gap: lists of items and scores of another length, an empty place, or more than k entries",
    SCORE: "have a score that is not finite",
    ORDER: "are not sorted: a score is larger than the one before it",
    TWICE: "hold an item twice",
    UNKNOWN: "hold an item that the table `item` does not have",
    UNAVAILABLE: "hold an item that is not available",
    SEEN: "hold an item that the user has seen",
    PROBABILITY: "have a probability that does not lie between 0 and 1",
    VALUE: "have an expected value that is not finite",
    WORTH: "have an expected worth that is not finite",
}
LISTS, ENTRIES, SHORT, EMPTY = "lists", "entries", "short", "empty"
COUNTED = (LISTS, ENTRIES, SHORT, EMPTY)
NUM_EXAMPLES = 3
FINDINGS = pa.schema(
    [
        ("rule", pa.string()),
        ("num_rows", pa.int64()),
        ("user_ids", pa.list_(pa.string())),
        ("values", pa.list_(pa.string())),
    ]
)
_MISSING = -1
_ENTRIES = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.float64())]))


@dataclass
class Finding:
    """Lists that break a rule, or are counted.

    Attributes:
        num_rows: Lists (or entries, for `ENTRIES`).
        examples: User and value of the first of them.
    """

    num_rows: int
    examples: list[tuple[str, str]]

    def add(self, other: Finding) -> None:
        """Count those of another batch as well."""
        self.num_rows += other.num_rows
        self.examples = [*self.examples, *other.examples][:NUM_EXAMPLES]


@dataclass(frozen=True)
class KnownItems:
    """The item table as checks need it.

    Attributes:
        item_ids: [I] distinct ids.
        is_available: [I] whether the item may be recommended.
    """

    item_ids: pa.Array
    is_available: npt.NDArray[np.bool_]

    def codes(self, item_ids: pa.Array) -> npt.NDArray[np.int64]:
        """[n] position of each id, -1 for one that is not there."""
        if not len(item_ids):
            return np.zeros(0, dtype=np.int64)
        found = pc.index_in(item_ids, value_set=self.item_ids)
        codes: npt.NDArray[np.int64] = found.fill_null(_MISSING).to_numpy(zero_copy_only=False).astype(np.int64)
        # A null among the ids of the table would make nulls known.
        codes[item_ids.is_null().to_numpy(zero_copy_only=False)] = _MISSING
        return codes


def check_lists(batch: pa.RecordBatch, items: KnownItems, k: int, *, is_sorted: bool = True) -> dict[str, Finding]:
    """Find what breaks a rule in lists of one row a user.

    Args:
        batch: user_id, item_ids (array of text), scores (array of float64), best first; seen_item_ids (array of text);
            probabilities and expected_values (arrays of maps) and expected_worths (array of float64), where there are
            some.
        items: The item table.
        k: Longest list; a shorter one is counted as `SHORT`.
        is_sorted: False where scores need not descend.

    Returns:
        By rule, those that some list breaks, and the counts of `COUNTED`.
    """
    users = batch["user_id"]
    num_items, rows = _lengths(batch["item_ids"])
    num_scores, score_rows = _lengths(batch["scores"])
    listed = batch["item_ids"].flatten()
    scores = batch["scores"].flatten().to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    codes = items.codes(listed)
    is_null = listed.is_null().to_numpy(zero_copy_only=False)
    found: dict[str, Finding] = {}

    def note(rule: str, at_rows: npt.NDArray[np.int64], values: Any) -> None:
        """Note the first value of every row; `values` gives the text of the n-th entry of `at_rows`."""
        if len(at_rows):
            broken, first = np.unique(at_rows, return_index=True)
            shown = zip(broken[:NUM_EXAMPLES], first[:NUM_EXAMPLES], strict=True)
            found[rule] = Finding(len(broken), [(str(users[int(row)].as_py()), values(int(n))) for row, n in shown])

    has_gap = (num_items != num_scores) | (num_items < 0) | (num_items > k)
    has_gap[rows[is_null]] = True
    gaps = np.flatnonzero(has_gap)
    note(GAP, gaps, lambda n: f"{_told(int(num_items[gaps[n]]))} items, {_told(int(num_scores[gaps[n]]))} scores")
    infinite = np.flatnonzero(~np.isfinite(scores))
    note(SCORE, score_rows[infinite], lambda n: f"score {scores[infinite[n]]}")
    rising = 1 + np.flatnonzero(is_sorted & (scores[1:] > scores[:-1]) & (score_rows[1:] == score_rows[:-1]))
    note(ORDER, score_rows[rising], lambda n: f"score {scores[rising[n]]} after {scores[rising[n] - 1]}")
    twice = _twice(rows, codes)
    note(TWICE, rows[twice], lambda n: f"item {listed[int(twice[n])].as_py()}")
    unknown = np.flatnonzero((codes == _MISSING) & ~is_null)
    note(UNKNOWN, rows[unknown], lambda n: f"item {listed[int(unknown[n])].as_py()}")
    # The last place is that of unknown items.
    gone = np.flatnonzero(~np.append(items.is_available, True)[codes])
    note(UNAVAILABLE, rows[gone], lambda n: f"item {listed[int(gone[n])].as_py()}")
    seen = _seen(rows, codes, batch["seen_item_ids"], items)
    note(SEEN, rows[seen], lambda n: f"item {listed[int(seen[n])].as_py()}")
    if "probabilities" in batch.schema.names:
        share_rows, shares = _map_values(batch["probabilities"])
        wrong = np.flatnonzero(~((shares >= 0) & (shares <= 1)))
        note(PROBABILITY, share_rows[wrong], lambda n: f"probability {shares[wrong[n]]}")
    if "expected_values" in batch.schema.names:
        value_rows, values = _map_values(batch["expected_values"])
        unbound = np.flatnonzero(~np.isfinite(values))
        note(VALUE, value_rows[unbound], lambda n: f"value {values[unbound[n]]}")
    if "expected_worths" in batch.schema.names:
        _, worth_rows = _lengths(batch["expected_worths"])
        worths = batch["expected_worths"].flatten().to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        odd = np.flatnonzero(~np.isfinite(worths))
        note(WORTH, worth_rows[odd], lambda n: f"worth {worths[odd[n]]}")
    is_short, is_empty = num_items < k, num_items <= 0
    counts = {LISTS: len(users), ENTRIES: len(codes), SHORT: int(is_short.sum()), EMPTY: int(is_empty.sum())}
    return found | {name: Finding(number, []) for name, number in counts.items()}


def check_all(
    batches: Iterator[pa.RecordBatch], items: KnownItems, k: int, *, is_sorted: bool = True
) -> pa.RecordBatch:
    """Add up what `check_lists` finds in all batches together, as rows of `FINDINGS`."""
    found: dict[str, Finding] = {}
    for batch in batches:
        for rule, finding in check_lists(batch, items, k, is_sorted=is_sorted).items():
            found.setdefault(rule, Finding(0, [])).add(finding)
    rows = [
        {
            "rule": rule,
            "num_rows": finding.num_rows,
            "user_ids": [user for user, _ in finding.examples],
            "values": [value for _, value in finding.examples],
        }
        for rule, finding in found.items()
    ]
    return pa.RecordBatch.from_pylist(rows, schema=FINDINGS)


def _lengths(lists: pa.ListArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Length of every list, -1 for a null, and the row of every element."""
    lengths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths, np.repeat(np.arange(len(lists)), np.maximum(lengths, 0))


def _map_values(lists: pa.ListArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Row and value of every entry of lists of maps."""
    _, place_rows = _lengths(lists)
    entries = lists.flatten().cast(_ENTRIES)
    _, entry_places = _lengths(entries)
    values = entries.flatten().field(1).to_numpy(zero_copy_only=False)
    return place_rows[entry_places], values.astype(np.float64, copy=False)


def _told(length: int) -> str:
    return "no list of" if length < 0 else str(length)


def _twice(rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places of known items that stand in their list before."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    # One row a list, where its unknown items and its end are filled with different values.
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    width = int(place.max()) + 1
    matrix = np.tile(-2 - np.arange(width, dtype=np.int32), (int(rows[-1]) + 1, 1))
    is_known = codes != _MISSING
    matrix[rows[is_known], place[is_known]] = codes[is_known]
    matrix.sort(axis=1)
    suspects = np.flatnonzero((matrix[:, 1:] == matrix[:, :-1]).any(axis=1))
    at = np.flatnonzero(np.isin(rows, suspects) & is_known) if len(suspects) else suspects
    _, first = np.unique(np.stack([rows[at], codes[at]]), axis=1, return_index=True)
    return np.setdiff1d(at, at[first])


def _seen(
    rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], seen: pa.ListArray, items: KnownItems
) -> npt.NDArray[np.int64]:
    """Places of items that the user of their list has seen."""
    _, seen_rows = _lengths(seen)
    seen_codes = items.codes(seen.flatten())
    num_items, is_known = len(items.item_ids), seen_codes != _MISSING
    pairs = np.sort(seen_rows[is_known] * num_items + seen_codes[is_known])
    if not len(pairs):
        return np.zeros(0, dtype=np.int64)
    wanted = rows * num_items + codes
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    return np.flatnonzero((pairs[at] == wanted) & (codes != _MISSING))
