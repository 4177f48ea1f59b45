"""Items to ask new users about: gains are those of the posterior, and answers help on planted tastes."""

from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.listing.elicitation import choose_questions, familiarity_of
from mmrec_lib.models.config import RankerSettings
from tests.benchmarks.elicitation import planted_data, run

RNG = np.random.default_rng(3)
VECTORS = RNG.standard_normal((30, 5)).astype(np.float32)
KNOWN = RNG.random(30)
ALL = np.ones(30, dtype=np.bool_)


def test_gains_are_the_variance_that_the_expected_posterior_lost() -> None:
    found = choose_questions(VECTORS, KNOWN, ALL, 6)
    vectors = VECTORS.astype(np.float64)
    noise = (vectors**2).sum(axis=1).mean()
    prior = np.trace(vectors @ vectors.T)
    variance, left = np.eye(5), prior
    for item, gain in zip(found.items, found.gains, strict=True):
        # Of a user who answers the precision grows; the expectation over knowing the item mixes both.
        answered = np.linalg.inv(np.linalg.inv(variance) + np.outer(vectors[item], vectors[item]) / noise)
        variance = KNOWN[item] * answered + (1 - KNOWN[item]) * variance
        now = np.trace(vectors @ variance @ vectors.T)
        assert gain == pytest.approx((left - now) / prior, abs=1e-8)
        left = now
    assert len(set(found.items.tolist())) == 6


def test_each_step_takes_the_largest_gain_and_gains_fall() -> None:
    found = choose_questions(VECTORS, KNOWN, ALL, 30)
    assert (np.diff(found.gains) <= 1e-9).all()
    best_first = [choose_questions(VECTORS, KNOWN, np.arange(30) == item, 1).items.tolist() for item in range(30)]
    assert best_first == [[item] for item in range(30)], "the only one that may be asked about is asked about"


def test_who_tells_the_same_or_is_not_known_or_not_listed_is_not_asked_about() -> None:
    twice = np.vstack([np.eye(5), np.eye(5)]).astype(np.float32)
    found = choose_questions(twice, np.ones(10), np.ones(10, np.bool_), 5)
    assert len({item % 5 for item in found.items.tolist()}) == 5, "a twin tells less than another item"
    known = np.where(np.arange(30) < 4, 0.0, KNOWN)
    listed = np.arange(30) % 2 == 0
    items = choose_questions(VECTORS, known, listed, 30).items
    assert set(items.tolist()) == set(range(4, 30, 2))


@pytest.mark.parametrize("vectors", [np.zeros((4, 3), np.float32), np.zeros((0, 3), np.float32)])
def test_nothing_is_asked_where_nothing_would_be_told(vectors: np.ndarray) -> None:
    number = len(vectors)
    found = choose_questions(vectors, np.ones(number), np.ones(number, np.bool_), 5)
    assert len(found.items) == len(found.gains) == 0
    assert len(choose_questions(VECTORS, KNOWN, ALL, 0).items) == 0


def test_familiarity_is_a_place_on_the_scale_and_nobody_knows_new_items() -> None:
    log_popularity, warm = np.array([-2.0, 0.0, 2.0, 9.0], np.float32), np.array([True, True, True, False])
    assert familiarity_of(log_popularity, warm).tolist() == [0.0, 0.5, 1.0, 0.0]
    assert familiarity_of(np.ones(2, np.float32), np.ones(2, np.bool_)).tolist() == [1.0, 1.0]
    assert familiarity_of(np.ones(2, np.float32), np.zeros(2, np.bool_)).tolist() == [0.0, 0.0]


def test_answers_make_better_lists_than_those_about_popular_or_random_items() -> None:
    """Bestsellers that everybody turned to tell nothing of the taste, rare items are known to few."""
    found = run(planted_data(), RankerSettings(dim=16, use_content=False), (8,))
    assert found["elicitation", 8] > 1.4 * max(found["popular", 8], found["random", 8])
