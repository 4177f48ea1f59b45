"""Reference models that only count or compare: popularity of a window, content kNN, Jaccard over categories."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mmrec_lib.models.data import FitData, Floats, Ints
from mmrec_lib.models.sources.content import ContentFeatures
from mmrec_lib.models.sources.popularity import SECONDS_PER_DAY
from tests.benchmarks.baselines.reference import Fits, Reference, Settings


def windowed_popularity(data: FitData, settings: Settings, seed: int) -> Fits:
    """Users of each item within the last `days`; items of equal number by their users in all time."""
    times = data.interactions.times.data
    recent = times > times.max() - settings["days"] * SECONDS_PER_DAY
    counts = np.bincount(data.interactions.weights.indices[recent], minlength=len(data.item_ids))
    everything = data.interactions.item_counts()
    scores = (counts + everything / (everything.max() + 1)).astype(np.float32)
    yield settings, lambda users: np.tile(scores, (len(users), 1))


def content_knn(data: FitData, settings: Settings, seed: int) -> Fits:
    """Mean cosine over all content blocks with the nearest items of a history.

    Source: Pazzani and Billsus 2007, Content-Based Recommendation Systems.
    """
    features = ContentFeatures.learn(data.contents)
    everything = np.ones(len(data.item_ids), dtype=np.bool_)
    similarity = features.kernel({}, everything, everything)
    yield settings, _Neighbors.of(data, similarity, int(settings["neighbors"])).scores


def category_jaccard(data: FitData, settings: Settings, seed: int) -> Fits:
    """Jaccard similarity of the items' categories, or of all their tokens where no block is called so.

    Source: Jaccard 1912, The Distribution of the Flora in the Alpine Zone.
    """
    blocks = [content for content in data.contents.values() if content.kind == "sparse"]
    named = [content for content in blocks if content.name == "attribute:categories"] or blocks
    tokens = sparse.hstack([content.matrix for content in named], format="csr")
    shared = (tokens @ tokens.T).toarray()
    sizes = np.asarray(tokens.sum(axis=1)).ravel()
    similarity = shared / np.maximum(sizes[:, None] + sizes[None, :] - shared, 1)
    yield settings, _Neighbors.of(data, similarity, int(settings["neighbors"])).scores


class _Neighbors:
    """Sums of similarities of items with a history, each item's nearest neighbours only."""

    def __init__(self, histories: sparse.csr_matrix, similarity: Floats) -> None:
        self.histories = histories
        self.similarity = similarity

    @classmethod
    def of(cls, data: FitData, similarity: Floats, neighbors: int) -> _Neighbors:
        """Keep the items that are nearest to each item."""
        similarity = similarity.astype(np.float32)
        np.fill_diagonal(similarity, 0)
        if neighbors < len(similarity):
            least = np.partition(similarity, -neighbors, axis=0)[-neighbors]
            similarity[similarity < least] = 0
        return cls((data.interactions.weights > 0).astype(np.float32), similarity)

    def scores(self, users: Ints) -> Floats:
        return self.histories[users] @ self.similarity


WINDOWED_POPULARITY = Reference(
    "windowed_popularity",
    {"days": (30.0, 1.0, 3.0, 7.0, 14.0, 60.0, 120.0)},
    windowed_popularity,
    is_random=False,
    ranks_new_users=True,
    needs="times",
)
_NEIGHBORS = {"neighbors": (50.0, 10.0, 20.0, 100.0, 200.0, 1_000.0)}
CONTENT_KNN = Reference("content_knn", _NEIGHBORS, content_knn, is_random=False, needs="contents")
CATEGORY_JACCARD = Reference("category_jaccard", _NEIGHBORS, category_jaccard, is_random=False, needs="tokens")
