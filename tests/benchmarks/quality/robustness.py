"""Data that went wrong: events of chance, users who push an item, vectors with noise, images of other items.

What is disturbed is what a model is trained on and looks at; test users and what they turned to stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mmrec_lib.models.data import Content, FitData, Interactions
from mmrec_lib.topk.selection import select_top
from tests.benchmarks.baselines.reference import Scores

FILLERS = 20
TOP = 10


def with_noise(data: FitData, share: float, rng: np.random.Generator) -> FitData:
    """A share of the events is about an item drawn at random instead of its own."""
    weights, times = data.interactions.weights, data.interactions.times
    items = weights.indices.copy()
    drawn = rng.random(len(items)) < share
    items[drawn] = rng.integers(0, weights.shape[1], int(drawn.sum()))
    users = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    return data.with_interactions(
        Interactions.from_rows(users, items, weights.shape, weights=weights.data, times=times.data)
    )


def least_known(data: FitData, rng: np.random.Generator) -> int:
    """An item with interactions, drawn among the tenth that has fewest: what somebody would want to push."""
    counts = data.interactions.item_counts()
    known = np.flatnonzero(counts > 0)
    rare = known[np.argsort(counts[known], kind="stable")][: max(1, len(known) // 10)]
    return int(rng.choice(rare))


def with_push(data: FitData, share: float, target: int, rng: np.random.Generator) -> FitData:
    """Fake users, so many for each real one with history, who act on the target and on popular items.

    The bandwagon attack of Burke et al. 2005. Fake users come after the real ones; their events are spread over the
    time of the others, and nothing is known of them.
    """
    weights, times = data.interactions.weights, data.interactions.times
    num_fake = max(1, round(share * int((np.diff(weights.indptr) > 0).sum())))
    popularity = data.interactions.item_counts().astype(np.float64)
    popularity[target] = 0.0
    num_fillers = min(FILLERS, int((popularity > 0).sum()))
    chance = popularity / max(popularity.sum(), 1.0)
    items = [np.append(rng.choice(len(chance), num_fillers, replace=False, p=chance), target) for _ in range(num_fake)]
    users = weights.shape[0] + np.repeat(np.arange(num_fake), num_fillers + 1)
    real = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    interactions = Interactions.from_rows(
        np.concatenate([real, users]),
        np.concatenate([weights.indices, *items]),
        (weights.shape[0] + num_fake, weights.shape[1]),
        weights=np.concatenate([weights.data, np.full(len(users), np.median(weights.data))]),
        times=np.concatenate([times.data, rng.choice(times.data, len(users))]),
    )
    unknown = np.full(num_fake, None, dtype=np.object_)
    attributes = {name: np.concatenate([values, unknown]) for name, values in data.user_attributes.items()}
    return replace(data, interactions=interactions, user_attributes=attributes)


def share_with(data: FitData, target: int, score: Scores) -> float:
    """Share of the users with history who have not had the target and whose first ten items hold it."""
    weights = data.interactions.weights
    has_history = np.diff(weights.indptr) > 0
    users = np.flatnonzero(has_history & (weights[:, [target]].toarray()[:, 0] == 0))
    scores = np.array(score(users), dtype=np.float32)
    seen = weights[users]
    scores[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
    return float((select_top(scores, TOP).indices == target).any(axis=1).mean()) if len(users) else 0.0


def with_vector_noise(data: FitData, length: float, rng: np.random.Generator) -> FitData:
    """Dense vectors with a random one of this length, in units of their own length, added."""

    def disturbed(content: Content) -> Content:
        if not isinstance(content.matrix, np.ndarray):
            return content
        noise = rng.standard_normal(content.matrix.shape)
        noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-9)
        lengths = np.linalg.norm(content.matrix, axis=1, keepdims=True)
        return Content.from_vectors(content.name, content.matrix + length * lengths * noise, content.has)

    return replace(data, contents={name: disturbed(content) for name, content in data.contents.items()})


def with_wrong_images(data: FitData, share: float, rng: np.random.Generator) -> FitData:
    """A share of the items have the image vectors of one another, in all blocks of images alike."""
    num_items = len(data.item_ids)
    wrong = np.flatnonzero(rng.random(num_items) < share)
    source = np.arange(num_items)
    source[wrong] = np.roll(wrong, 1)
    return replace(data, contents=_of_other_items(data.contents, source))


def _of_other_items(contents: Mapping[str, Content], source: np.ndarray) -> dict[str, Content]:
    return {
        name: replace(content, matrix=content.matrix[source], has=content.has[source])
        if name.split(":")[0] == "image"
        else content
        for name, content in contents.items()
    }
