"""What vectors in fewer bytes cost whoever searches with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec_lib.encoders.backend import row_cosines
from mmrec_lib.topk.exact import nearest

NEIGHBOURS = 10


@dataclass(frozen=True)
class RetrievalLoss:
    """How well stored vectors stand for the exact ones.

    Attributes:
        recall: Share of the 10 nearest neighbours by cosine among the exact vectors that are still among the 10 nearest
            of the stored ones, over all rows; with fewer than 11 rows all others are neighbours.
        mean_cosine: Of stored vectors to the exact ones.
    """

    recall: float
    mean_cosine: float


def retrieval_loss(exact_ND: npt.NDArray[np.float32], stored_ND: npt.NDArray[np.float32]) -> RetrievalLoss | None:
    """Compares stored with exact vectors, `[n, D]` each, both finite; row by row the same contents.

    Returns:
        None when fewer than two vectors have a direction, so that nothing has a neighbour.
    """
    before, after = (nearest(vectors, NEIGHBOURS).indices for vectors in (exact_ND, stored_ND))
    is_neighbour = before >= 0
    if not is_neighbour.any():
        return None
    is_kept = (before[:, :, None] == after[:, None, :]).any(axis=2) & is_neighbour
    has_direction = is_neighbour.any(axis=1)
    cosines = row_cosines(exact_ND[has_direction], stored_ND[has_direction])
    return RetrievalLoss(float(is_kept.sum() / is_neighbour.sum()), float(cosines.mean()))
