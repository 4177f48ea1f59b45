"""Recall lost to quantized storage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec_lib.encoders.runtime.cosines import row_cosines
from mmrec_lib.topk.exact import nearest

NEIGHBOURS = 10


@dataclass(frozen=True)
class QuantizationLoss:
    """Agreement of stored vectors with the exact ones.

    Attributes:
        recall: Share of the 10 nearest neighbours by cosine among the exact vectors that are still among the 10 nearest
            of the stored ones, over all rows.
        mean_cosine: Of stored vectors to the exact ones.
        num_vectors: How many were compared.
    """

    recall: float
    mean_cosine: float
    num_vectors: int


def quantization_loss(exact_ND: npt.NDArray[np.float32], stored_ND: npt.NDArray[np.float32]) -> QuantizationLoss | None:
    """Compares stored with exact vectors, `[n, D]` each, both finite; row by row the same contents.

    Vectors of zeros have no neighbours and do not count.

    Returns:
        None when so few vectors are left that all others are neighbours, whatever was lost.
    """
    has_direction = exact_ND.any(axis=1)
    exact_ND, stored_ND = exact_ND[has_direction], stored_ND[has_direction]
    if len(exact_ND) <= NEIGHBOURS + 1:
        return None
    before, after = (nearest(vectors, NEIGHBOURS).indices for vectors in (exact_ND, stored_ND))
    is_kept = (before[:, :, None] == after[:, None, :]).any(axis=2)
    return QuantizationLoss(float(is_kept.mean()), float(row_cosines(exact_ND, stored_ND).mean()), len(exact_ND))
