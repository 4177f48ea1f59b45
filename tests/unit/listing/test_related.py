"""Complements and successors from planted counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from mmrec_lib.listing.config import (
    BOUGHT_TOGETHER,
    CONTINUE_WITH,
    BoughtTogetherConfig,
    ContinueWithConfig,
    ListsConfig,
)
from mmrec_lib.listing.items import ListingItems, Margins, compared_contents
from mmrec_lib.listing.related import next_parts, related_lists

PAIRS = pa.schema(
    [
        ("list_type", pa.string()),
        ("item_id", pa.string()),
        ("related_item_id", pa.string()),
        ("num_pairs", pa.int64()),
        ("num_reversed", pa.int64()),
    ]
)
Row = tuple[str, str, str, int | None, int | None]
# Two phones that are much alike, their case, a lamp, and a phone that is nothing like the others.
IDS = ["case", "lamp", "phone-a", "phone-b", "phone-c"]
CATEGORIES = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
VECTORS = np.array([[0, 1, 0], [0, 0, 1], [3, 0.1, 0], [2, 0, 0.1], [0, 0, 5]], dtype=np.float32)
TOTAL = 1000


def shop(num: Sequence[int] = (20,) * 5, *, hidden: Sequence[str] = ()) -> ListingItems:
    counts = np.array(num, dtype=np.int64)
    return ListingItems(
        item_ids=pa.array(IDS),
        is_listed=~np.isin(IDS, list(hidden)),
        categories=sparse.csr_matrix(CATEGORIES),
        contents=compared_contents([VECTORS]),
        margins={name: Margins(counts, counts, TOTAL) for name in (BOUGHT_TOGETHER, CONTINUE_WITH)},
    )


def lists_of(rows: Sequence[Row], items: ListingItems | None = None, **config: object) -> dict[str, list[str]]:
    """Lists of one type by item."""
    columns = list(zip(*rows, strict=True)) or [[]] * 5
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, PAIRS.types, strict=True)], schema=PAIRS)
    found = related_lists(table, items or shop(), ListsConfig(**config))  # type: ignore[arg-type]
    return {row["owner"]: row["item_ids"] for batch in found for row in batch.to_pylist()}


def bought(left: str, right: str, num: int) -> Row:
    return (BOUGHT_TOGETHER, left, right, num, num)


def followed(left: str, right: str, num: int | None, num_reversed: int | None = 0) -> Row:
    return (CONTINUE_WITH, left, right, num, num_reversed)


def test_a_complement_is_listed_and_a_substitute_is_not() -> None:
    rows = [bought("phone-a", "case", 8), bought("phone-a", "phone-b", 9), bought("phone-a", "phone-c", 9)]
    assert lists_of(rows) == {"phone-a": ["phone-c", "case"]}, "c shares the category, but is nothing like it"
    kept = BoughtTogetherConfig(substitute_similarity=None)
    assert lists_of(rows, bought_together=kept) == {"phone-a": ["phone-b", "phone-c", "case"]}


def test_alike_items_of_different_categories_are_no_substitutes() -> None:
    items = shop()
    as_one = ListingItems(items.item_ids, items.is_listed, items.categories[:, :1] * 0, items.contents, items.margins)
    assert lists_of([bought("phone-a", "phone-b", 9)], as_one) == {"phone-a": ["phone-b"]}


def test_pairs_that_chance_explains_and_pairs_of_few_baskets_are_left_out() -> None:
    everywhere = shop((500, 500, 20, 20, 20))
    assert lists_of([bought("phone-a", "lamp", 10)], everywhere) == {}, "half of all baskets hold a lamp"
    rare = shop((4,) * 5)
    assert lists_of([bought("phone-a", "case", 2)], rare) == {}
    few = BoughtTogetherConfig(min_support=2)
    assert lists_of([bought("phone-a", "case", 2)], rare, bought_together=few) == {"phone-a": ["case"]}
    assert lists_of([bought("phone-a", "case", 2)], bought_together=few) == {}, "2 of 20 baskets may be chance"


def test_what_may_not_be_shown_is_decided_before_selection() -> None:
    rows = [bought("phone-a", "case", 9), bought("phone-a", "lamp", 8), bought("case", "phone-a", 9)]
    assert lists_of(rows, k=1)["phone-a"] == ["case"]
    hidden = lists_of(rows, shop(hidden=["case"]), k=1)
    assert hidden == {"phone-a": ["lamp"], "case": ["phone-a"]}, "an item that is sold out still has a list"


def test_equal_scores_are_ordered_by_item_and_lists_are_cut() -> None:
    rows = [bought("phone-c", other, 9) for other in ("phone-a", "lamp", "case")]
    assert lists_of(rows, k=2) == {"phone-c": ["case", "lamp"]}


def test_items_that_are_gone_are_in_no_list() -> None:
    assert lists_of([bought("phone-a", "gone", 9), bought("gone", "case", 9)]) == {}


def test_what_follows_has_an_order() -> None:
    assert lists_of([followed("lamp", "case", 6, 0), followed("case", "lamp", 0, 6)]) == {"lamp": ["case"]}
    assert lists_of([followed("lamp", "case", 6, 5), followed("case", "lamp", 5, 6)]) == {}, "both ways alike"


def test_the_next_part_of_a_series_stands_first_once() -> None:
    rows = [
        followed("phone-a", "case", 8, 0),
        followed("phone-a", "phone-b", None, None),
        followed("phone-a", "phone-b", 9, 0),
        followed("phone-a", "phone-b", None, None),
    ]
    assert lists_of(rows) == {"phone-a": ["phone-b", "case"]}


def test_shares_of_few_users_are_held_back() -> None:
    """All 5 users of one item took it next, and 16 of 20 of another."""
    rows = [followed("case", "lamp", 5, 0), followed("phone-a", "lamp", 16, 0)]
    found = related_lists(
        pa.Table.from_pylist([dict(zip(PAIRS.names, row, strict=True)) for row in rows], schema=PAIRS),
        shop((5, 20, 20, 20, 20)),
        ListsConfig(continue_with=ContinueWithConfig(prior=5)),
    )
    scores = {row["owner"]: (row["scores"], row["supports"]) for batch in found for row in batch.to_pylist()}
    assert scores == {"case": ([0.5], [5]), "phone-a": ([0.64], [16])}


def test_parts_of_a_series_follow_each_other() -> None:
    series = pa.array(["s", "s", "s", "s", "t", None, "t"])
    parts = np.array([2.0, 1.0, 2.0, 5.0, 1.0, 2.0, np.nan])
    left, right = next_parts(series, parts)
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 3), (1, 0), (1, 2), (2, 3)]


def test_a_catalogue_without_series_has_no_next_parts() -> None:
    left, right = next_parts(pa.array([None, None], pa.string()), np.array([1.0, np.nan]))
    assert (left.tolist(), right.tolist()) == ([], [])


def test_contents_side_by_side_count_only_where_an_item_has_them() -> None:
    """Equal texts and no image of one of them: a cosine of 1 / sqrt(2), as of vectors side by side."""
    texts = np.array([[1, 0], [1, 0]], dtype=np.float32)
    images = np.array([[0, 2], [0, 0]], dtype=np.float32)
    items = ListingItems(
        item_ids=pa.array(["a", "b"]),
        is_listed=np.ones(2, dtype=np.bool_),
        categories=sparse.csr_matrix(np.ones((2, 1))),
        contents=compared_contents([texts, images, sparse.eye(2)]),
        margins={},
    )
    pair = (np.array([0]), np.array([1]))
    assert items.are_substitutes(*pair, 0.70).tolist() == [True]
    assert items.are_substitutes(*pair, 0.71).tolist() == [False]


@pytest.mark.parametrize("hidden", [(), ("lamp",)])
def test_items_come_back_from_a_folder_as_they_were(tmp_path: Path, hidden: tuple[str, ...]) -> None:
    items = shop((1, 2, 3, 4, 5), hidden=hidden)
    items.save(tmp_path)
    again = ListingItems.load(tmp_path)
    assert again.item_ids.equals(items.item_ids)
    assert again.is_listed.tolist() == items.is_listed.tolist()
    assert (again.categories != items.categories).nnz == 0
    assert np.array_equal(again.contents[0], items.contents[0])
    assert again.margins[CONTINUE_WITH].num_left.tolist() == [1, 2, 3, 4, 5]
    assert again.margins[BOUGHT_TOGETHER].total == TOTAL
