"""Explanations of users' lists by item: shares of modalities, and ranks without an item of the history.

Shape letters: n users, I items of the fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmrec_lib.models.data import Bools, FitData, Histories, Ints
from mmrec_lib.models.ranker.counterfactual import leave_one_out
from mmrec_lib.models.ranker.explanation import NO_MODALITY
from mmrec_lib.models.ranker.modality_shares import MAX_MODALITIES, modality_shares
from mmrec_lib.models.ranker.ranker import FittedRanker

# Items that are ranked for a user, at most: the catalogue for each item that is left out, the latest ones first.
_MAX_RANKED = 20_000_000


@dataclass(frozen=True)
class WithoutItem:
    """Rank of a listed item had an item not been in the history, by the model alone, before rules and re-ranking.

    Attributes:
        item_id: The item of the history.
        rank: Rank with the whole history, from 1.
        rank_without: Rank without it.
    """

    item_id: str
    rank: int
    rank_without: int

    @property
    def places_lost(self) -> int:
        """Places that the listed item would lose; below 0 where it would rise."""
        return self.rank_without - self.rank


@dataclass(frozen=True)
class ItemExplanation:
    """Reasons for an item of a user's list.

    Attributes:
        item_id: The item.
        modality_shares: Share of each modality, and of `NO_MODALITY`, in the score of the first stage; empty where it
            was not asked for or cannot be told.
        without: Ranks without each item of the history that was left out, those that it would fall most without first.
    """

    item_id: str
    modality_shares: Mapping[str, float] = field(default_factory=dict)
    without: Sequence[WithoutItem] = ()


def explain_modalities(
    ranker: FittedRanker,
    data: FitData,
    histories: Histories,
    lists: Sequence[Ints],
    max_modalities: int = MAX_MODALITIES,
) -> list[dict[int, dict[str, float]]]:
    """Shares by modality of each user's items, by position; an item that is in the history has none.

    Args:
        ranker: The ranker.
        data: What it was fitted on.
        histories: n users.
        lists: Positions of items of each user.
        max_modalities: Modalities up to which the coalitions are fitted.

    Raises:
        ModelError: When there are more modalities, or the ranker was fitted on other data.
    """
    unseen = [items[~np.isin(items, histories.weights[row].indices)] for row, items in enumerate(lists)]
    asked = [row for row, items in enumerate(unseen) if len(items)]
    found: list[dict[int, dict[str, float]]] = [{} for _ in lists]
    if not asked:
        return found
    length = max(len(unseen[row]) for row in asked)
    # The tail of a shorter list repeats its first item.
    padded = np.array([[*unseen[row], *[unseen[row][0]] * (length - len(unseen[row]))] for row in asked])
    shares = modality_shares(data, ranker, ranker.project(histories.rows(np.array(asked))), padded, max_modalities)
    parts = {**shares.shares, NO_MODALITY: shares.others}
    for at, row in enumerate(asked):
        for place, item in enumerate(unseen[row].tolist()):
            found[row][item] = {name: float(values[at, place]) for name, values in parts.items()}
    return found


def explain_without(
    ranker: FittedRanker, history: Histories, items: Ints, hidden: Bools
) -> dict[int, list[WithoutItem]]:
    """Ranks without each item of the history, by position; only of items that the model could list today.

    Args:
        ranker: The ranker.
        history: One user.
        items: Positions of listed items.
        hidden: [I] items that the user must not get, besides the history.
    """
    own = history.weights.indices
    ranked = items[~hidden[items] & ~np.isin(items, own)]
    if not len(ranked) or not len(own):
        return {}
    latest = own if history.times is None else own[np.argsort(-history.times.data, kind="stable")]
    removed = np.sort(latest[: max(_MAX_RANKED // len(hidden), 1)])
    found = leave_one_out(ranker, history, ranked, removed, hidden)
    names = ranker.item_ids[found.removed]
    told = {}
    for place, item in enumerate(ranked.tolist()):
        # Where ranks are equal, the one without which the score falls most comes first.
        order = np.lexsort((found.scores_without[:, place], -found.ranks_without[:, place]))
        told[item] = [
            WithoutItem(str(names[at]), int(found.ranks[place]), int(found.ranks_without[at, place]))
            for at in order.tolist()
        ]
    return told
