"""Candidates of a scoring run in the order of the model's second stage."""

from __future__ import annotations

import numpy as np

from mmrec_lib.models.ranker.explanation import ProjectedUsers
from mmrec_lib.models.second_stage.model import lowering
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.topk.selection import NO_ITEM, TopItems


def in_second_stage(users: ProjectedUsers, top: TopItems, catalogue: Catalogue, k: int) -> TopItems:
    """The best k candidates by first and second stage together; ties keep the first stage's order.

    Only as many candidates as the model was fitted with are ordered, whatever more steps after it ask for: the others
    follow in the first stage's order, lowered together as far as needed. The model knows nothing more of items that
    came after its fit: they keep the first stage's scores.

    Args:
        users: n users.
        top: Their candidates by the first stage, best first, with what rules add.
        catalogue: Items and model.
        k: Candidates to keep, at most.
    """
    second_stage = catalogue.ranker.second_stage
    assert second_stage is not None
    ordered = top.indices[:, : second_stage.num_candidates]
    is_item = ordered != NO_ITEM
    known = is_item.copy()
    known[is_item] = catalogue.in_model.known[ordered[is_item]]
    in_fit = np.full(ordered.shape, NO_ITEM, dtype=np.int64)
    in_fit[known] = catalogue.in_model.of(ordered[known])
    scores = top.scores.copy()
    new = scores[:, : ordered.shape[1]] + catalogue.ranker.additions(users, in_fit)
    scores += lowering(scores[:, : ordered.shape[1]], new)[:, None]
    scores[:, : ordered.shape[1]] = new
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return TopItems(np.take_along_axis(top.indices, order, axis=1), np.take_along_axis(scores, order, axis=1))
