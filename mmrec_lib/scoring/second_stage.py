"""Candidates of a scoring run in the order of the model's second stage."""

from __future__ import annotations

import numpy as np

from mmrec_lib.models.ranker.explanation import ProjectedUsers
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.topk.selection import NO_ITEM, TopItems


def in_second_stage(users: ProjectedUsers, top: TopItems, catalogue: Catalogue, k: int) -> TopItems:
    """The best k candidates in the order of the second stage; the scores stay, in their order.

    Only as many candidates as the model was fitted with are ordered, whatever more steps after it ask for. Items that
    came after its fit keep their places.

    Args:
        users: n users.
        top: Their candidates by the first stage, best first, with what rules add.
        catalogue: Items and model.
        k: Candidates to keep, at most.
    """
    second_stage = catalogue.ranker.second_stage
    assert second_stage is not None
    first = slice(0, second_stage.num_candidates)
    indices = top.indices.copy()
    in_fit = catalogue.places_in_fit(indices[:, first])
    at = catalogue.ranker.order(users, in_fit, np.where(top.indices[:, first] != NO_ITEM, top.scores[:, first], 0))
    indices[:, first] = np.take_along_axis(indices[:, first], at, axis=1)
    return TopItems(indices[:, :k], top.scores[:, :k])
