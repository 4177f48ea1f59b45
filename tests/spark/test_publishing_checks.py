"""Checks before publishing on frames: users, lists, the catalogue's size, what changed; and the change feed."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest
from pydantic import ValidationError
from pyspark.sql import functions as F

from mmrec_lib.errors import PublishingError
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.worker_files import WorkerFiles
from mmrec_lib.scoring.checks import ChecksConfig, KeptLists, NewLists, check_before_publishing, check_catalogue
from mmrec_lib.scoring.published import published_slices
from tests.published import publish

DAY, NEXT = date(2026, 1, 1), date(2026, 1, 2)
LISTS = {"u1": ["a", "b"], "u2": ["b", "a"], "u3": ["c"], "u4": []}
SEEN = {"u1": ["c"], "u2": ["c"], "u3": ["a", "b"], "u4": ["a", "b", "c", "gone"]}


def lists_of(lakehouse: Lakehouse, *parts: dict[str, list[str]]) -> WorkerFiles:
    """Lists as workers stage them, best first, with what each user has seen."""
    rows = [
        (user, items, [float(-n) for n in range(len(items))], SEEN.get(user, []))
        for lists in parts
        for user, items in lists.items()
    ]
    columns = "user_id string, item_ids array<string>, scores array<double>, seen_item_ids array<string>"
    frame = lakehouse.spark.createDataFrame(rows, columns)
    return lakehouse.stage_in_workers("lists", frame, lambda batches: batches, frame.schema)


@pytest.fixture
def new(lakehouse: Lakehouse) -> NewLists:
    spark = lakehouse.spark
    profiles = spark.createDataFrame([(user,) for user in SEEN], "user_id string")
    items = [("a", True), ("b", True), ("c", True), ("gone", False)]
    frame = spark.createDataFrame(items, "item_id string, available boolean")
    return NewLists(lists_of(lakehouse, LISTS), profiles, frame, DAY, 2)


def test_good_lists_pass_and_short_and_empty_ones_are_counted(lakehouse: Lakehouse, new: NewLists) -> None:
    counts = {"lists": 4, "entries": 5, "short": 2, "empty": 1}
    assert check_before_publishing(lakehouse, new, ChecksConfig()) == counts


@pytest.mark.slow
def test_all_broken_rules_are_told_at_once_with_users_and_values(lakehouse: Lakehouse, new: NewLists) -> None:
    wrong = {"u1": ["a", "zz"], "u2": ["c", "gone"], "u3": ["c"], "u9": ["a"]}
    twice = lists_of(lakehouse, wrong, {"u3": ["c"]})
    with pytest.raises(PublishingError) as caught:
        check_before_publishing(lakehouse, replace(new, lists=twice), ChecksConfig())
    message = str(caught.value)
    for part in (
        "the published ones stay",
        "1 users stand more than once in the new lists (user 'u3')",
        "1 users are known and have no row in the new lists, not even one with an empty list (user 'u4')",
        "1 users are in the new lists and unknown (user 'u9')",
        "1 lists hold an item that the table `item` does not have (user 'u1' with item zz)",
        "1 lists hold an item that is not available (user 'u2' with item gone)",
        "1 lists hold an item that the user has seen (user 'u2' with item c)",
    ):
        assert part in message
    assert len(re.findall(r"\d+ (?:users|lists) ", message)) == 6, "no other rule is named"


@pytest.mark.slow
def test_bounds_of_short_lists_and_of_the_catalogue(lakehouse: Lakehouse, new: NewLists) -> None:
    with pytest.raises(PublishingError, match=r"2 of 4 lists \(50.0%\) have fewer than k = 2 items, 1 of them none"):
        check_before_publishing(lakehouse, new, ChecksConfig(max_short_share=0.49))
    check_before_publishing(lakehouse, new, ChecksConfig(max_short_share=0.5))

    publish(lakehouse, DAY, LISTS, num_items=8)
    with pytest.raises(
        PublishingError, match=r"has 4 items, and had 8 when it was last published, which is 50.0% less"
    ):
        check_catalogue(lakehouse, 4, published_slices(lakehouse)["item_vector"], ChecksConfig())
    check_catalogue(lakehouse, 4, published_slices(lakehouse)["item_vector"], ChecksConfig(max_catalogue_shrink=0.5))
    check_catalogue(lakehouse, 4, published_slices(lakehouse)["item_vector"], ChecksConfig(max_catalogue_shrink=1))


@pytest.mark.slow
def test_the_share_of_changed_entries_is_compared_only_when_asked(lakehouse: Lakehouse, new: NewLists) -> None:
    changed = ChecksConfig(max_changed_share=0.0)
    check_before_publishing(lakehouse, new, changed)  # nothing was published yet

    # Five new entries, six published ones, and three are in both.
    publish(lakehouse, DAY, {"u1": ["a", "c"], "u2": ["a", "b"], "u3": ["b"], "u8": ["c"]})
    later = replace(new, as_of=NEXT)
    check_before_publishing(lakehouse, later, ChecksConfig(min_changed_share=0.5, max_changed_share=0.5))
    check_before_publishing(lakehouse, later, ChecksConfig())
    with pytest.raises(PublishingError, match=r"50.0% of the entries are not in the published lists .of 2026-01-01"):
        check_before_publishing(lakehouse, later, ChecksConfig(max_changed_share=0.49))
    frozen = ChecksConfig(min_changed_share=0.51)
    with pytest.raises(PublishingError, match=r"min_changed_share asks for 51.0%"):
        check_before_publishing(lakehouse, later, frozen)
    check_before_publishing(lakehouse, new, frozen)  # the same date once more: a repair may change nothing

    # Two published lists of four entries stay beside the new ones: seven of ten published entries are there again.
    kept_lists = {"u8": ["a"], "u9": ["a", "b", "c"]}
    publish(lakehouse, DAY, {"u1": ["a", "c"], "u2": ["a", "b"], "u3": ["b"], "u7": ["c"]} | kept_lists)
    beside = replace(later, kept=KeptLists(num_lists=2, num_entries=4, num_short=1))
    counts = check_before_publishing(lakehouse, beside, ChecksConfig(max_changed_share=0.31))
    assert counts == {"lists": 6, "entries": 9, "short": 3, "empty": 1}
    with pytest.raises(PublishingError, match=r"30.0% of the entries"):
        check_before_publishing(lakehouse, beside, ChecksConfig(max_changed_share=0.29))
    with pytest.raises(PublishingError, match=r"3 of 6 lists \(50.0%\) have fewer"):
        check_before_publishing(lakehouse, beside, ChecksConfig(max_short_share=0.4))

    # Lists that lost their items differ as much as those that gained other ones, and never replace full ones.
    empty = replace(later, lists=lists_of(lakehouse, {user: [] for user in LISTS}))
    with pytest.raises(PublishingError, match="all of 4 lists are empty, and lists with items are published"):
        check_before_publishing(lakehouse, empty, ChecksConfig())


def test_bounds_that_nothing_can_meet_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing could pass"):
        ChecksConfig(min_changed_share=0.5, max_changed_share=0.4)


@pytest.mark.slow
def test_the_change_feed_tells_what_a_second_publishing_changed(lakehouse: Lakehouse) -> None:
    publish(lakehouse, DAY, {"u1": ["a", "b"], "u2": ["b"], "u3": ["c"]})
    first = lakehouse.data_version("user_topk")
    assert first is not None
    publish(lakehouse, DAY, {"u1": ["a", "c"], "u2": ["b"], "u4": ["a"]})
    publish(lakehouse, NEXT, {"u1": ["b"]})
    last = lakehouse.data_version("user_topk")
    feed = lakehouse.spark.sql(
        f"SELECT * FROM table_changes_by_path('{lakehouse.location('user_topk')}', {first + 1}, {last})"
    )
    # A slice is replaced whole: what was written again as it was stands on both sides, with the same row_hash.
    sign = F.when(F.col("_change_type") == "insert", 1).otherwise(-1)
    keys = ["as_of_date", "user_id", "rank", "item_id", "row_hash"]
    net = feed.groupBy(*keys).agg(F.sum(sign).alias("net")).where("net <> 0").collect()
    assert {(row["as_of_date"], row["user_id"], row["rank"], row["item_id"], row["net"]) for row in net} == {
        (DAY, "u1", 2, "b", -1),
        (DAY, "u1", 2, "c", 1),
        (DAY, "u3", 1, "c", -1),
        (DAY, "u4", 1, "a", 1),
        (NEXT, "u1", 1, "b", 1),
    }
