"""Checks of exact lists against brute force in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmrec_lib.topk import TopItems


@dataclass(frozen=True)
class Case:
    """Input of a search.

    Attributes:
        users: [n, dim] float32.
        items: [I, dim] float32.
        k: Length of the lists.
        seen: [n, I] bool.
        unavailable: [I] bool.
        allowed: [groups, I] bool.
        groups: [n] row of allowed or -1.
    """

    users: np.ndarray
    items: np.ndarray
    k: int
    seen: np.ndarray
    unavailable: np.ndarray
    allowed: np.ndarray
    groups: np.ndarray

    @staticmethod
    def open_to_all(users: np.ndarray, items: np.ndarray, k: int) -> Case:
        """A case without filters."""
        users, items = np.asarray(users, np.float32), np.asarray(items, np.float32)
        none = np.zeros(len(items), np.bool_)
        seen = np.zeros((len(users), len(items)), np.bool_)
        return Case(users, items, k, seen, none, np.zeros((0, len(items)), np.bool_), np.full(len(users), -1))

    @property
    def excluded(self) -> np.ndarray:
        """[n, I] pairs that must not be listed."""
        outside = np.zeros_like(self.seen)
        limited = self.groups >= 0
        outside[limited] = ~self.allowed[self.groups[limited]]
        return self.seen | outside | self.unavailable

    @property
    def seen_matrix(self) -> sparse.csr_matrix:
        """Seen pairs as the search takes them."""
        return sparse.csr_matrix(self.seen)


def brute_force(case: Case) -> TopItems:
    """The definition: correctly rounded dot products, sorted by score descending, then item."""
    indices = np.full((len(case.users), case.k), -1, np.int32)
    scores = np.full((len(case.users), case.k), -np.inf, np.float32)
    excluded = case.excluded
    for user, vector in enumerate(case.users.astype(float)):
        listed = []
        for item in np.flatnonzero(~excluded[user]):
            products = vector * case.items[item].astype(float)  # exact in float64
            listed.append((-float(np.float32(math.fsum(products))), int(item)))
        for place, (score, item) in enumerate(sorted(listed)[: case.k]):
            indices[user, place], scores[user, place] = item, -score
    return TopItems(indices, scores)


def assert_is_exact(top: TopItems, case: Case) -> None:
    """Lists are those of a full sort in float64, except where scores are equal in float32."""
    scores = case.users.astype(np.float64) @ case.items.astype(np.float64).T
    scores[case.excluded] = -np.inf
    num_listed = np.minimum((scores > -np.inf).sum(axis=1), case.k)
    np.testing.assert_array_equal((top.indices >= 0).sum(axis=1), num_listed)
    best = -np.sort(-scores, axis=1)[:, : case.k]
    # Two roundings to float32, of numbers whose float64 sums differ a little.
    largest = np.linalg.norm(case.users.astype(float), axis=1, keepdims=True) * np.linalg.norm(
        case.items.astype(float), axis=1
    ).max(initial=0.0)
    for user, count in enumerate(num_listed):
        indices, listed = top.indices[user, :count], top.scores[user, :count]
        assert len(set(indices.tolist())) == count
        np.testing.assert_allclose(
            listed, best[user, :count], rtol=1.5e-7, atol=1e-14 * float(largest[user, 0]) + 1e-45
        )
        np.testing.assert_allclose(
            listed, scores[user, indices], rtol=1.5e-7, atol=1e-14 * float(largest[user, 0]) + 1e-45
        )
        steps = np.diff(listed)
        assert (steps <= 0).all()
        assert (np.diff(indices)[steps == 0] > 0).all(), "equal scores are listed by item index"
        assert (top.indices[user, count:] == -1).all()
        assert np.isneginf(top.scores[user, count:]).all()


def assert_same(found: TopItems, expected: TopItems) -> None:
    """Lists agree to the last bit."""
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.scores.view(np.int32), expected.scores.view(np.int32))
