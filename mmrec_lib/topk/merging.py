"""Lists of parts of a catalogue as lists of the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmrec_lib.errors import ModelError
from mmrec_lib.topk.scores import lists_of_keys, order_keys
from mmrec_lib.topk.selection import NO_ITEM, TopItems


def merge_lists(
    parts: Sequence[TopItems], k: int | None = None, *, first_items: Sequence[int] | None = None
) -> TopItems:
    """The best k items of each user among lists of disjoint parts of the catalogue.

    A catalogue larger than the memory of a worker is cut into parts; with k items of each part the result equals the
    lists of the whole catalogue, ties included.

    Args:
        parts: Lists of the same users, one part of the catalogue each.
        k: Length of the lists; that of the longest part where not given.
        first_items: Index in the whole catalogue of each part's first item; where not given the parts already hold
            indices of the whole.

    Raises:
        ModelError: When there is no part, numbers of users differ, k is below 1 or a score is not finite.
    """
    if not parts:
        raise ModelError("top-k: merging needs the lists of at least one part, got none")
    if len({part.indices.shape[0] for part in parts}) > 1:
        raise ModelError(
            f"top-k: merged lists must be of the same users, got {[part.indices.shape[0] for part in parts]} rows"
        )
    length = max(part.k for part in parts) if k is None else k
    if length < 1:
        raise ModelError(f"top-k: k must be at least 1, got {length}")
    starts = [0] * len(parts) if first_items is None else list(first_items)
    if len(starts) != len(parts):
        raise ModelError(f"top-k: {len(parts)} parts need {len(parts)} first items, got {len(starts)}")
    keys = []
    for part, start in zip(parts, starts, strict=True):
        if not np.isfinite(part.scores[part.indices != NO_ITEM]).all():
            raise ModelError("top-k: scores of merged lists must be finite, got NaN or infinity beside an item")
        shifted = np.where(part.indices == NO_ITEM, NO_ITEM, part.indices + start).astype(np.int32)
        keys.append(order_keys(part.scores, shifted))
    return lists_of_keys(np.concatenate(keys, axis=1), length)
