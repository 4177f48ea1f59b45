"""Signals of items for the second stage: reduced contents, trends and what follows what, as arrays of a fit.

Shape letters: I items, B content blocks, D dimensions of a reduced block, T trends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.models.data import Bools, Floats
from mmrec_lib.models.second_stage.context import ContextSignals


@dataclass(frozen=True)
class ItemSignals:
    """Signals of the items of a fit.

    Attributes:
        block_names: Names of the B content blocks.
        blocks: [I, B, D] float32 blocks reduced to their leading dimensions, unit rows; zeros where missing.
        trend_names: Names of the T trends.
        trends: [I, T] float32 log popularity at several ages and, where times are known, the ages of an item's first
            and last event.
        successors: [I, I] how much likelier an item becomes soon after another, log of 1 + a shrunken lift.
        is_new: [I] items without interactions.
        context: Signals of the context of requests; None where none is looked at.
    """

    block_names: tuple[str, ...]
    blocks: Floats
    trend_names: tuple[str, ...]
    trends: Floats
    successors: sparse.csr_matrix
    is_new: Bools
    context: ContextSignals | None = None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays, for saving; the names are for the caller to keep."""
        return {
            "blocks": self.blocks,
            "trends": self.trends,
            "successors/indptr": self.successors.indptr,
            "successors/indices": self.successors.indices,
            "successors/data": self.successors.data,
            "is_new": self.is_new,
            **({} if self.context is None else self.context.arrays()),
        }

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, npt.NDArray[Any]],
        block_names: tuple[str, ...],
        trend_names: tuple[str, ...],
        context: Mapping[str, Any] | None = None,
    ) -> ItemSignals:
        """Rebuild from what `arrays` and, for the context, `ContextSignals.meta` gave."""
        num_items = len(arrays["is_new"])
        data, indices, indptr = (arrays[f"successors/{name}"] for name in ("data", "indices", "indptr"))
        successors = sparse.csr_matrix((data, indices, indptr), shape=(num_items, num_items))
        is_new = arrays["is_new"].astype(np.bool_)
        own = None if context is None else ContextSignals.load(arrays, context, num_items)
        return cls(block_names, arrays["blocks"], trend_names, arrays["trends"], successors, is_new, own)
