"""Segments of users: planted groups are found, named and stay; texts say facts only."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.tastes.columns import fit_to_lists, segments_of, taste_texts
from mmrec_lib.tastes.segments import NO_SEGMENTS, Segments
from mmrec_lib.tastes.sentences import MAX_CHARACTERS, TasteFacts, safe_name, taste_text

SHARES = pa.list_(pa.struct([("name", pa.string()), ("share", pa.float64())]))
GROUPS = (("Kitchen", "Garden"), ("Drama", "Comedy"), ("Games", "Audio"))


def planted(num_users: int = 300, noise: float = 0.15, seed: int = 0) -> tuple[pa.Array, list[int]]:
    """Users of three groups with two categories each, and a little of everything, the first group the largest."""
    rng = np.random.default_rng(seed)
    groups = rng.choice(3, num_users, p=[0.5, 0.3, 0.2])
    rows = []
    for group in groups:
        shares = {name: noise * rng.random() / 6 for pair in GROUPS for name in pair}
        first = 0.35 + 0.3 * rng.random()
        shares[GROUPS[group][0]] += first
        shares[GROUPS[group][1]] += 1 - first
        total = sum(shares.values())
        ordered = sorted(shares.items(), key=lambda entry: -entry[1])
        rows.append([{"name": name, "share": round(share / total, 4)} for name, share in ordered[:5]])
    return pa.array(rows, SHARES), groups.tolist()


def named(lists: pa.Array, segments: Segments) -> list[str | None]:
    return segments_of(lists, segments).to_pylist()


def test_planted_groups_are_found_and_named_after_their_categories() -> None:
    lists, groups = planted()
    segments = fit_to_lists(lists, 8)
    assert {frozenset(name.split(" and ")) for name in segments.names} == {frozenset(pair) for pair in GROUPS}
    assert set(segments.names[0].split(" and ")) == set(GROUPS[0]), "the largest is in front"
    right = [
        set(name.split(" and ")) == set(GROUPS[group])
        for name, group in zip(named(lists, segments), groups, strict=True)
    ]
    assert np.mean(right) > 0.99


def test_segments_are_the_same_for_the_same_users_and_stay_when_little_changes() -> None:
    lists, _ = planted()
    segments = fit_to_lists(lists, 8)
    again = fit_to_lists(lists, 8)
    assert segments.names == again.names
    np.testing.assert_array_equal(segments.centers, again.centers)
    others, _ = planted(seed=7)
    changed = pa.array([*lists.to_pylist()[:290], *others.to_pylist()[:10]], SHARES)
    moved = fit_to_lists(changed, 8)
    assert moved.names == segments.names
    same = [one == other for one, other in zip(named(lists, segments), named(lists, moved), strict=True)]
    assert np.mean(same) > 0.99


def test_never_more_segments_than_asked_for_and_each_has_users_and_a_name_of_its_own() -> None:
    lists, _ = planted(noise=3.0)
    for most in (1, 2, 3, 8):
        segments = fit_to_lists(lists, most)
        assert 1 <= len(segments.names) <= most
        assert len(set(segments.names)) == len(segments.names)
        assert set(named(lists, segments)) == set(segments.names)


def test_one_user_one_category_and_nobody_are_fine() -> None:
    one = pa.array([[{"name": "Drama", "share": 1.0}]], SHARES)
    assert named(one, fit_to_lists(one, 8)) == ["Drama"]
    unknown = pa.array([None, [], [{"name": "Opera", "share": 1.0}]], SHARES)
    assert named(unknown, fit_to_lists(one, 8)) == [None, None, None]
    nobody = pa.array([None, []], SHARES)
    assert fit_to_lists(nobody, 8) is NO_SEGMENTS
    assert named(nobody, NO_SEGMENTS) == [None, None]


def test_names_of_categories_are_made_safe() -> None:
    lists = pa.array([[{"name": "Dra\u202ema\n" + "x" * 99, "share": 1.0}]], SHARES)
    (name,) = fit_to_lists(lists, 8).names
    assert name.startswith("Drama xx") and len(name) <= 40 and name.isprintable()


def test_blank_names_of_categories_name_no_segment() -> None:
    blank, drama = {"name": " \u202e", "share": 0.6}, {"name": "Drama", "share": 0.3}
    lists = pa.array([[blank, drama, {"name": "\n", "share": 0.1}], [blank]], SHARES)
    segments = fit_to_lists(lists, 8)
    assert segments.names == ("Drama",)
    assert named(lists, segments) == ["Drama", None]
    assert fit_to_lists(lists.slice(1), 8) is NO_SEGMENTS


def test_a_text_says_what_is_counted() -> None:
    facts = TasteFacts(
        num_items=20,
        categories=[("Drama", 0.4), ("Comedy", 0.3), ("War", 0.3)],
        brands=[("Acme", 0.5), ("Other", 0.1)],
        prices=(25.0, 39.5),
        num_ratings=5,
        mean_rating=4.12,
    )
    assert taste_text(facts) == "Mostly Drama and Comedy; often by Acme; around 25 to 39.50; rates 4.1 on average"


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (TasteFacts(0, [("Drama", 1.0)]), None),
        (TasteFacts(9), None),
        (TasteFacts(9, [("Drama", 0.5), ("War", 0.5)]), "Mostly Drama and War"),
        (TasteFacts(9, [("Drama", 0.51), ("War", 0.49)]), "Mostly Drama"),
        (TasteFacts(9, [(name, 0.14) for name in "abcdefg"]), "Often a, b and c"),
        (TasteFacts(50, [(str(n), 0.02) for n in range(50)]), None),
        (TasteFacts(2, [("Drama", 1.0)], [("Acme", 1.0)], None, 2, 5.0), "So far Drama"),
        (TasteFacts(9, prices=(1234.5, 1234.5)), "Around 1,234"),
        (TasteFacts(9, [("", 1.0)], [("\u202e", 1.0)], (5.0, 9.99)), "Around 5 to 9.99"),
    ],
)
def test_a_text_never_says_more_than_is_known(facts: TasteFacts, text: str | None) -> None:
    assert taste_text(facts) == text


def test_a_text_is_one_safe_line_of_bounded_length() -> None:
    long = [(f"{n}\n\x1b[31m" + "w" * 500, 0.2) for n in range(5)]
    text = taste_text(TasteFacts(9, long, long, (1.0, 2.0), 9, 3.0))
    assert text is not None and len(text) <= MAX_CHARACTERS and text.isprintable()
    assert safe_name("password=hunter2") == "password=***"


def test_texts_of_a_batch_pass_over_what_is_null() -> None:
    history = pa.array([[{"item_id": "a"}] * 3, None], pa.list_(pa.struct([("item_id", pa.string())])))
    names = pa.array([[{"name": "Drama", "share": 1.0}], None], SHARES)
    batch = pa.RecordBatch.from_arrays(
        [
            history,
            names,
            pa.array([None, None], SHARES),
            pa.array([[2.0, 3.0], None], pa.list_(pa.float64())),
            pa.array([None, None], pa.int64()),
            pa.array([None, None], pa.float64()),
        ],
        names=["history", "top_categories", "top_brands", "price_quartiles", "num_ratings", "mean_rating"],
    )
    assert taste_texts(batch).to_pylist() == ["Mostly Drama; around 2 to 3", None]
