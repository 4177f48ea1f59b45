"""Learning the signals of items for the second stage from the data of a fit.

Shape letters: U users, I items, B content blocks, D dimensions of a reduced block, T trends.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.models.data import FitData, Floats, Interactions, sampled_rows
from mmrec_lib.models.second_stage.learn_context import learn_context
from mmrec_lib.models.second_stage.lifts import log_lifts, no_pairs
from mmrec_lib.models.second_stage.signals import ItemSignals
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.models.sources.content import ALIGNED, ContentFeatures, modality_of
from mmrec_lib.models.sources.popularity import SECONDS_PER_DAY, decayed_counts

# Half-lives of popularity as shares of the time span of the data.
_HALF_LIVES = (1 / 64, 1 / 16, 1 / 4)
# Pseudo-count that keeps rare items' trends from looking certain.
_SMOOTHING = 0.5
# Weight of a pair of items by how many events lie between them.
_STEPS = (1.0, 0.5, 1 / 3)
_MAX_USERS = 200_000
_LEAST_LENGTH = 1e-6


def learn_signals(data: FitData, features: ContentFeatures, settings: SecondStageSettings, seed: int) -> ItemSignals:
    """Learn the signals.

    Args:
        data: The data of the fit.
        features: Its contents as unit rows.
        settings: D, and the parts of the context that are wanted.
        seed: Seed of the range finder and of the sample of users.
    """
    dim = settings.content_dim
    num_items = len(data.item_ids)
    # A joint space says nothing that the modalities do not, which the network fuses itself.
    contents = {name: rows for name, rows in features.rows.items() if modality_of(name) != ALIGNED}
    blocks = np.zeros((num_items, len(contents), dim), dtype=np.float32)
    for place, rows in enumerate(contents.values()):
        reduced = _reduced(rows, dim, seed)
        blocks[:, place, : reduced.shape[1]] = reduced
    trends = _trends(data)
    return ItemSignals(
        block_names=tuple(contents),
        blocks=blocks,
        trend_names=tuple(trends),
        trends=np.stack(list(trends.values()), axis=1).astype(np.float32),
        successors=successors_of(data.interactions, seed),
        is_new=data.interactions.item_counts() == 0,
        context=learn_context(data, settings) if settings.context else None,
    )


def _reduced(rows: Floats | sparse.csr_matrix, dim: int, seed: int) -> Floats:
    """Unit rows over the leading dimensions of a block, [I, at most dim]; zeros where there is nothing."""
    from sklearn.utils.extmath import randomized_svd  # scikit-learn takes seconds to import

    rank = max(1, min(dim, min(rows.shape) - 1))
    left, values, _ = randomized_svd(rows, rank, random_state=seed)
    reduced = left * values
    lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
    unit: Floats = np.where(lengths > _LEAST_LENGTH, reduced / np.maximum(lengths, _LEAST_LENGTH), 0.0)
    return unit.astype(np.float32)


def _trends(data: FitData) -> dict[str, npt.NDArray[np.float64]]:
    interactions, num_items = data.interactions, len(data.item_ids)
    trends = {"popularity": np.log(interactions.item_counts() + _SMOOTHING)}
    times, items = interactions.times.data, interactions.times.indices
    known = times > 0
    if not known.any() or np.ptp(times[known]) == 0:
        # The same features everywhere: a part of the data may have one time only.
        faded = {f"popularity/{1 / share:.0f}": trends["popularity"] for share in _HALF_LIVES}
        return {**trends, **faded, "first": np.zeros(num_items), "last": np.zeros(num_items)}
    now, start = float(times.max()), float(times[known].min())
    for share in _HALF_LIVES:
        days = (now - start) * share / SECONDS_PER_DAY
        trends[f"popularity/{1 / share:.0f}"] = np.log(decayed_counts(data, days) + _SMOOTHING)
    first, last = np.full(num_items, now), np.full(num_items, start)
    np.minimum.at(first, items[known], times[known])
    np.maximum.at(last, items[known], times[known])
    for name, moment in (("first", first), ("last", last)):
        trends[name] = np.log1p(100 * (now - moment) / (now - start))
    return trends


def successors_of(interactions: Interactions, seed: int) -> sparse.csr_matrix:
    """[I, I] float32 log(1 + lift) of an item within the next three events after another, shrunken where seldom.

    The lift is count · total / (count of the first · count of the second); at most 50 successors an item are kept.
    Pairs of equal time have no order and do not count.
    """
    times, num_items = interactions.times, interactions.shape[1]
    if not (times.data > 0).any():
        return no_pairs(num_items, num_items)
    times = sampled_rows(times, _MAX_USERS, seed)
    rows = np.repeat(np.arange(times.shape[0]), np.diff(times.indptr))
    order = np.lexsort((times.indices, times.data, rows))
    user, item, time = rows[order], times.indices[order], times.data[order]
    shape = (num_items, num_items)
    counts = no_pairs(num_items, num_items)
    for step, weight in enumerate(_STEPS, start=1):
        follows = (user[step:] == user[:-step]) & (time[step:] > time[:-step]) & (time[:-step] > 0)
        pairs = (item[:-step][follows], item[step:][follows])
        counts = counts + sparse.csr_matrix((np.full(len(pairs[0]), weight), pairs), shape=shape)
    return log_lifts(counts)
