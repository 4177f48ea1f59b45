"""Lists of the ranker beside what followed: what heads learn from, and what they are judged by.

Shape letters: n users, P pairs of a user and a listed item, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from mmrec_lib.models.data import Doubles, FitData, Ints, row_blocks
from mmrec_lib.models.heads.outcomes import PairValues
from mmrec_lib.models.ranker.probabilities import Places, place_features
from mmrec_lib.models.ranker.projection import Search, plain_search
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.topk.selection import NO_ITEM

_USERS_AT_ONCE = 256


@dataclass(frozen=True)
class ListedPairs:
    """Pairs of users and items of their lists.

    Attributes:
        users: [P] positions of the users, ascending.
        items: [P] positions of the items, by user in the order of the list.
        features: [P, F] see `curves.FEATURES`.
    """

    users: Ints
    items: Ints
    features: Doubles

    @classmethod
    def joined(cls, parts: Sequence[ListedPairs]) -> ListedPairs:
        """The pairs of several blocks, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def labels(self, outcome: PairValues) -> Doubles:
        """[P] 1 where an outcome happened, else 0."""
        return np.nan_to_num(self.quantities(outcome))

    def quantities(self, outcome: PairValues) -> Doubles:
        """[P] the quantity of an event, NaN where it did not happen."""
        return outcome.at(self.users, self.items)


def listed_blocks(
    ranker: FittedRanker,
    data: FitData,
    users: Ints,
    num_places: int,
    user_block: int = _USERS_AT_ONCE,
    search: Search = plain_search,
) -> Iterator[ListedPairs]:
    """The lists of some users, without what they turned to before, in blocks of users.

    Args:
        ranker: A ranker that was fitted on the data.
        data: Histories.
        users: [n] positions of the users, ascending.
        num_places: Length of the lists.
        user_block: Users of a block.
        search: Exact top-k, see `FittedRanker.project`.
    """
    histories = data.histories()
    for rows in row_blocks(len(users), user_block):
        own = histories.rows(users[rows])
        projected = ranker.project(own, search)
        scores = projected.vectors @ ranker.item_vectors().T
        scores[np.repeat(np.arange(len(own)), np.diff(own.weights.indptr)), own.weights.indices] = -np.inf
        top = ranker.select(projected, scores, num_places)
        at, places = np.nonzero(top.indices != NO_ITEM)
        yield ListedPairs(
            users=users[rows][at],
            items=top.indices[at, places].astype(np.int64),
            features=place_features(ranker, projected, Places.of_fit(top)),
        )


def outcome_users(outcomes: Mapping[str, PairValues]) -> Ints:
    """Positions of the users to whom some outcome happened, ascending."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *(outcome.users for outcome in outcomes.values())]))
