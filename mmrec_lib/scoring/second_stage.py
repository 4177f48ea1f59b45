"""Candidates of a scoring run in the order of the model's second stage."""

from __future__ import annotations

import numpy as np

from mmrec_lib.models.ranker.explanation import ProjectedUsers
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.topk.selection import NO_ITEM, TopItems


def in_second_stage(users: ProjectedUsers, top: TopItems, catalogue: Catalogue, k: int) -> TopItems:
    """The best k candidates by first and second stage together; ties keep the first stage's order.

    The model knows nothing more of items that came after its fit: they keep the first stage's scores.

    Args:
        users: n users.
        top: Their candidates by the first stage, with what rules add.
        catalogue: Items and model.
        k: Candidates to keep, at most.
    """
    is_item = top.indices != NO_ITEM
    known = is_item.copy()
    known[is_item] = catalogue.in_model.known[top.indices[is_item]]
    in_fit = np.full(top.indices.shape, NO_ITEM, dtype=np.int64)
    in_fit[known] = catalogue.in_model.of(top.indices[known])
    scores = np.where(is_item, top.scores + catalogue.ranker.additions(users, in_fit), np.float32(-np.inf))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return TopItems(np.take_along_axis(top.indices, order, axis=1), np.take_along_axis(scores, order, axis=1))
