"""Re-ranking by the definitions, one user and one place at a time, in plain numpy: what the kernels must agree with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import Candidates, ItemFacts, UserFacts

FLOOR = 1e-9


def scaled(scores: np.ndarray) -> np.ndarray:
    width = scores[0] - scores[-1] if scores.size else 0.0
    return (scores - scores[-1]) / width if width > 0 else np.ones(scores.size)


def relevances(scores: np.ndarray, scale: str) -> np.ndarray:
    if scale == "score":
        return scores
    if scale == "rank":
        return 1 - np.arange(scores.size) / max(scores.size - 1, 1)
    return scaled(scores)


def shares(items: ItemFacts, item: int) -> np.ndarray:
    has = items.categories[item].toarray()[0] > 0
    return has / max(has.sum(), 1)


def wanted_shares(items: ItemFacts, history: sparse.csr_matrix) -> np.ndarray:
    total = sum(
        (weight * shares(items, item) for item, weight in zip(history.indices, history.data, strict=True)),
        np.zeros(items.categories.shape[1]),
    )
    return total / total.sum() if total.sum() > 0 else total


def divergence(items: ItemFacts, wanted: np.ndarray, listed: list[int], alpha: float) -> float:
    if wanted.sum() == 0:
        return 0.0
    held = [shares(items, item) for item in listed if shares(items, item).sum() > 0]
    actual = np.mean(held, axis=0) if held else np.zeros(wanted.size)
    mixed = (1 - alpha) * actual + alpha * wanted
    return float(sum(p * math.log(p / q) for p, q in zip(wanted, mixed, strict=True) if p > 0))


def unit(vector: np.ndarray) -> np.ndarray:
    length = math.sqrt(float((vector.astype(np.float64) ** 2).sum()))
    return vector.astype(np.float64) / length if length else vector.astype(np.float64)


def gram(items: ItemFacts, listed: list[int]) -> np.ndarray:
    rows = np.array([unit(items.vectors[item]) for item in listed])
    matrix = rows @ rows.T
    matrix[np.diag_indices(len(listed))] = 1.0
    return matrix


def volume(items: ItemFacts, listed: list[int], item: int) -> float:
    """Squared distance of an item from the span of a list."""
    if not listed:
        return 1.0
    whole = gram(items, [*listed, item])
    inner, cross = whole[:-1, :-1], whole[:-1, -1]
    return float(1.0 - cross @ np.linalg.pinv(inner, rcond=1e-9, hermitian=True) @ cross)


@dataclass
class Choice:
    """One user's selection, so far."""

    config: RerankingConfig
    items: ItemFacts
    candidates: list[int]
    scores: np.ndarray
    history: sparse.csr_matrix
    k: int
    listed: list[int] = field(default_factory=list)

    def gain(self, place: int) -> float:
        config, item = self.config, self.candidates[place]
        alone = relevances(self.scores, config.relevance)[place]
        total = (1 - config.diversity_strength - config.calibration_strength) * alone
        if config.diversity is not None and self.listed:
            if config.diversity.kind == "mmr":
                most = max(float(unit(self.items.vectors[item]) @ unit(self.items.vectors[j])) for j in self.listed)
                total -= config.diversity.strength * most
            else:
                total += config.diversity.strength * math.log(max(volume(self.items, self.listed, item), FLOOR))
        if config.calibration is not None:
            wanted = wanted_shares(self.items, self.history)
            after = divergence(self.items, wanted, [*self.listed, item], config.calibration.smoothing)
            total -= config.calibration.strength * after
        return total

    def free(self) -> list[int]:
        """Places of candidates that are neither listed nor duplicates of listed ones."""
        groups = self.items.duplicate_group
        taken = {int(groups[item]) for item in self.listed if groups[item] >= 0} if self.config.duplicates else set()
        return [
            place
            for place, item in enumerate(self.candidates)
            if item not in self.listed and int(groups[item]) not in taken
        ]

    def labels(self) -> list[tuple[object, set[int], int, int, int]]:
        """(name, members, at most, at least, window) of each label of each quota."""
        found = []
        for number, quota in enumerate(self.config.quotas):
            window = quota.first or 10**9
            for name, members in self._sets(quota.by, quota.name):
                most = 10**9 if quota.at_most is None else quota.at_most
                found.append(((number, name), members, most, quota.at_least or 0, window))
        return found

    def _sets(self, by: str, name: str | None) -> list[tuple[str, set[int]]]:
        items = self.items
        if by == "new":
            return [("new", set(np.flatnonzero(items.is_new)))]
        if by == "brand":
            sets = [(b, set(np.flatnonzero(items.brands == n))) for n, b in enumerate(items.brand_names)]
        else:
            columns = items.categories.tocsc()
            sets = [(c, set(columns[:, n].indices.tolist())) for n, c in enumerate(items.category_names)]
        return [(n, members) for n, members in sets if name in (None, n)]

    def allowed(self) -> list[int]:
        """The free candidates of the best level."""
        place, free, labels = len(self.listed), self.free(), self.labels()
        if not labels:
            return free
        free_items = [self.candidates[n] for n in free]

        def held(members: set[int]) -> int:
            return sum(item in members for item in self.listed)

        def lacks(members: set[int], least: int, window: int) -> int:
            if place >= window:
                return 0
            return max(0, min(least - held(members), sum(item in members for item in free_items)))

        forced = "no"
        for window in sorted({label[4] for label in labels if label[3] > 0 and place < label[4]}):
            needed = sum(lacks(m, least, w) for _, m, _, least, w in labels if least and w <= window)
            left = min(window, self.k, place + len(free)) - place
            if needed > left:
                forced = "most"
            elif needed and needed == left and forced == "no":
                forced = "any"
        levels = {}
        for n in free:
            item = self.candidates[n]
            if any(item in m and place < w and held(m) >= most for _, m, most, _, w in labels):
                levels[n] = 0 if self.config.fill else -1
                continue
            served = sum(item in m and least > 0 and lacks(m, least, w) > 0 for _, m, _, least, w in labels)
            levels[n] = 1 + {"no": 0, "any": min(served, 1), "most": served}[forced]
        best = max(levels.values(), default=-1)
        return [n for n in free if levels[n] == best] if best >= 0 else []


def choices(
    config: RerankingConfig, candidates: Candidates, items: ItemFacts, users: UserFacts, k: int
) -> list[Choice]:
    found = []
    for user in range(len(candidates)):
        is_item = candidates.indices[user] >= 0
        found.append(
            Choice(
                config,
                items,
                candidates.indices[user][is_item].tolist(),
                candidates.scores[user][is_item].astype(np.float64),
                users.history[user],
                k,
            )
        )
    return found


def check_greedy(choice: Choice, listed: list[int]) -> None:
    """Each place holds an allowed candidate of the largest gain; the first of them, where they are exactly equal."""
    for item in listed:
        allowed = choice.allowed()
        gains = {n: choice.gain(n) for n in allowed}
        place = choice.candidates.index(item)
        assert place in gains, (choice.listed, item, [choice.candidates[n] for n in allowed])
        best = max(gains.values())
        assert gains[place] >= best - 1e-6, (choice.listed, item, gains)
        choice.listed.append(item)
    if len(listed) < choice.k:
        assert choice.allowed() == []


def greedy(choice: Choice) -> list[int]:
    """The list by the definition, for measuring."""
    while len(choice.listed) < choice.k:
        allowed = choice.allowed()
        if not allowed:
            break
        gains = [choice.gain(n) for n in allowed]
        choice.listed.append(choice.candidates[allowed[int(np.argmax(gains))]])
    return choice.listed
