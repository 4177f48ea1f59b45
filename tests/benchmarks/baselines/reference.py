"""Reference models as the benchmark sees them: settings to try, a fit, scores of users by their positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmrec_lib.models.data import FitData, Floats, Ints

Settings = Mapping[str, float]
Scores = Callable[[Ints], Floats]
"""Scores [n, I] float32 of the users at these positions of the fit data."""
Fits = Iterator[tuple[Settings, Scores]]


@dataclass(frozen=True)
class Reference:
    """A reference model.

    Attributes:
        name: Name in results.
        grids: Values of each setting; the first ones together are tried first.
        fits: Fits on data with settings and a seed; gives the settings with their scores, a model trained in epochs
            more than once, with the `epochs` so far.
        is_random: Whether another seed gives another model.
        ranks_new_users: Whether it ranks for users without history; where not they get plain popularity.
        needs: What it cannot be fitted without: time stamps, item contents of any kind, or tokens among them.
    """

    name: str
    grids: Mapping[str, Sequence[float]]
    fits: Callable[[FitData, Settings, int], Fits]
    is_random: bool = True
    ranks_new_users: bool = False
    needs: Literal["times", "contents", "tokens"] | None = None

    def reason_against(self, data: FitData) -> str | None:
        """The reason why it cannot be fitted on these data, None where it can."""
        if self.needs == "times" and np.ptp(data.interactions.times.data) == 0:
            return "events have no time stamps"
        if self.needs == "contents" and not data.contents:
            return "items have no content"
        if self.needs == "tokens" and not any(content.kind == "sparse" for content in data.contents.values()):
            return "items have no tokens such as categories"
        return None

    def tried_settings(self, number: int, seed: int) -> list[Settings]:
        """At most `number` different settings: the first values of all grids, then seeded draws."""
        sizes = [len(values) for values in self.grids.values()]
        others = np.random.default_rng(seed).permutation(np.arange(1, int(np.prod(sizes, dtype=int))))
        places = [np.unravel_index(place, sizes) if sizes else () for place in (0, *others[: number - 1])]
        return [
            {name: values[at] for (name, values), at in zip(self.grids.items(), place, strict=True)} for place in places
        ]

    def choose(
        self, train: FitData, evaluate: Callable[[Scores], float], num_settings: int, seed: int
    ) -> tuple[Settings, int]:
        """Settings of the best scores on validation, and how many were tried.

        Args:
            train: What to fit on.
            evaluate: The objective, higher is better.
            num_settings: Settings that are tried, at most; epochs of one fit count once.
            seed: Of the draw and of the fits.
        """
        best: Settings = {}
        best_value = -np.inf
        tried = self.tried_settings(num_settings, seed)
        for settings in tried:
            for complete, scores in self.fits(train, settings, seed):
                value = evaluate(self._for_everyone(train, scores))
                if value > best_value:
                    best, best_value = complete, value
        return best, len(tried)

    def fit(self, data: FitData, settings: Settings, seed: int) -> Scores:
        """Scores of a fit with chosen settings."""
        *_, (_, scores) = self.fits(data, settings, seed)
        return self._for_everyone(data, scores)

    def _for_everyone(self, data: FitData, scores: Scores) -> Scores:
        return scores if self.ranks_new_users else with_popularity(data, scores)


def with_popularity(data: FitData, scores: Scores) -> Scores:
    """The same scores, but the number of users of each item for users without history."""
    counts = data.interactions.item_counts().astype(np.float32)
    has_history = np.diff(data.interactions.weights.indptr) > 0

    def score(users: Ints) -> Floats:
        return np.where(has_history[users, None], scores(users), counts)

    return score


@dataclass(frozen=True)
class Vectors:
    """A model of factors: score = user vector times item vector plus the item's bias.

    Attributes:
        users: [U, D].
        items: [I, D].
        biases: [I].
    """

    users: Floats
    items: Floats
    biases: Floats

    def scores(self, users: Ints) -> Floats:
        """Scores [n, I] of the users at these positions."""
        return self.users[users] @ self.items.T + self.biases
