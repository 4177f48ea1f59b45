"""Probabilities of outcomes and expected worth for the places of published lists, in Arrow.

Shape letters: n users of a batch, c candidates, k places of a list, P filled places of all lists, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmrec_lib.models.heads.heads import Head
from mmrec_lib.models.ranker.explanation import ProjectedUsers
from mmrec_lib.models.ranker.probabilities import (
    Candidates,
    Places,
    by_worth,
    expected_worths,
    final_places,
    head_values,
    uncounted_worths,
)
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.scoring.arrow_lists import lists_of_rows
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.showing.item_rules import UserLimits
from mmrec_lib.topk.selection import NO_ITEM, TopItems

VALUES_IN_ARROW = pa.map_(pa.string(), pa.float64())
COLUMNS = ("probabilities", "expected_values", "expected_worths")
"""Columns of a batch of lists that heads fill, lists of one entry a place; null where there is nothing to say."""


def candidates_of(
    users: ProjectedUsers, ordered: TopItems, catalogue: Catalogue, limits: UserLimits, worths: Mapping[str, float]
) -> Candidates | None:
    """Candidates of users with what heads look at; None where the ranker has no heads.

    Args:
        users: n users.
        ordered: Their candidates in the ranker's order, with what rules add.
        catalogue: Items and model.
        limits: Rules for each user.
        worths: Worth of each outcome; without any the order stays.
    """
    heads = catalogue.ranker.heads
    if heads is None or not heads.kept:
        return None
    ranks = np.broadcast_to(np.arange(1, ordered.k + 1), ordered.indices.shape)
    scores = ordered.scores - _boosts(ordered.indices, catalogue, limits)
    places = Places(catalogue.places_in_fit(ordered.indices), scores, ranks, ordered.indices != NO_ITEM)
    return by_worth(catalogue.ranker, users, Candidates(ordered, places), worths)


def head_columns(
    candidates: Candidates | None,
    indices: NDArray[np.int32],
    users: ProjectedUsers,
    catalogue: Catalogue,
    config: ListConfig,
) -> list[pa.ListArray]:
    """The columns of `COLUMNS` for final lists; probabilities and values end after `outcome_ranks` places.

    Args:
        candidates: See `candidates_of`.
        indices: [n, k] items of the lists, each filled from the left.
        users: n users.
        catalogue: Items and model.
        config: Worth of each outcome, and how many places tell of outcomes.
    """
    maps, numbers = pa.nulls(len(users), pa.list_(VALUES_IN_ARROW)), pa.nulls(len(users), pa.list_(pa.float64()))
    heads = catalogue.ranker.heads
    if candidates is None or heads is None:
        return [maps, maps, numbers]
    shown = slice(0, config.outcome_ranks)
    # Worths are told of each place.
    asked = indices if config.worths else indices[:, shown]
    places = final_places(candidates, asked, catalogue.places_in_fit(asked), users, catalogue.item_vectors)
    values = head_values(catalogue.ranker, users, places)
    worth = expected_worths(heads, values, config.worths)
    if worth is not None:
        numbers = lists_of_rows(pa.array(worth), places.is_filled.sum(axis=1))
    is_told = np.zeros_like(places.is_filled)
    is_told[:, shown] = places.is_filled[:, shown]
    told = {name: of_places[is_told[places.is_filled]] for name, of_places in values.items()}
    lengths = is_told.sum(axis=1)
    return [
        *(lists_of_rows(_maps(told, own), lengths) if own else maps for own in (heads.outcomes, heads.quantities)),
        numbers,
    ]


def some_count(ranker: FittedRanker, worths: Mapping[str, float]) -> bool:
    """True where a worth counts, so that it may change the order of candidates."""
    return len(uncounted_worths(ranker, worths)) < len(worths)


def own_scores(
    candidates: Candidates | None,
    indices: NDArray[np.int32],
    users: ProjectedUsers,
    catalogue: Catalogue,
    worths: Mapping[str, float],
) -> NDArray[np.float32] | None:
    """[n, k] the ranker's scores of the items of final lists, without what rules add.

    None where no worth counts: only worths give an item the score of another.

    Args:
        candidates: See `candidates_of`.
        indices: [n, k] items of the lists.
        users: n users.
        catalogue: Items and model.
        worths: Worth of each outcome.
    """
    if candidates is None or not some_count(catalogue.ranker, worths):
        return None
    return final_places(candidates, indices, catalogue.places_in_fit(indices), users, catalogue.item_vectors).scores


def _maps(values: Mapping[str, NDArray[np.float64]], heads: Sequence[Head]) -> pa.MapArray:
    """[P] maps from names to values."""
    names = [head.name for head in heads]
    values_PH = significant(np.stack([values[name] for name in names], axis=1))
    offsets = np.arange(len(values_PH) + 1, dtype=np.int32) * len(names)
    keys = pa.array(names).take(pa.array(np.tile(np.arange(len(names)), len(values_PH))))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(values_PH.ravel()))


def significant(values: NDArray[np.float64], digits: int = 4) -> NDArray[np.float64]:
    """Values of the same shape with so many significant digits: finer than any calibration, and a third of the bytes.

    Example:
        >>> significant(np.array([0.0123456, 3.99999, 0.0])).tolist()
        [0.01235, 4.0, 0.0]
    """
    magnitudes = np.floor(np.log10(np.where(values == 0, 1.0, np.abs(values))))
    unit = np.power(10.0, digits - 1 - magnitudes)
    rounded: NDArray[np.float64] = np.round(values * unit) / unit
    return rounded


def _boosts(indices: NDArray[np.int32], catalogue: Catalogue, limits: UserLimits) -> NDArray[np.float32]:
    """[n, c] what rules add to the score of each candidate."""
    if not limits.user_boosts.any():
        return np.zeros((1, 1), np.float32)
    added: NDArray[np.float32] = np.einsum("nd,nkd->nk", limits.user_boosts, catalogue.rules.item_boosts[indices])
    return added
