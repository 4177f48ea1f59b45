"""The source `content_ease`: EASE with item content in its Gram matrix; see `ease`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.models.coordinate_search import coordinate_search
from mmrec_lib.models.data import Floats, Ints
from mmrec_lib.models.sources.base import FitInputs, SearchInputs, SearchResult, Source, matrix_contributions
from mmrec_lib.models.sources.ease import (
    EaseSettings,
    EaseT,
    ease_inverse,
    ease_weights,
    fit_ease,
    gram,
    rescale_penalties,
)

PENALTIES: dict[str, tuple[float, ...]] = {
    "regulariser": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
    "content_scale": (0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0),
    "dropout": (0.0, 0.5, 2.0),
}
BLOCK_WEIGHTS = (0.0, 0.5, 2.0)
# Relative gain that another weight of a block needs.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class EaseSource(Source[EaseT]):
    """A form of EASE: scores are history @ matrix.

    Attributes:
        matrix: [W, W] float32.
    """

    uses_content: ClassVar[bool] = True

    matrix: Floats

    @classmethod
    def is_possible(cls, num_items: int, max_dense_items: int) -> bool:
        """True when item-by-item matrices fit in memory."""
        return num_items <= max_dense_items

    @classmethod
    def fit(cls, inputs: FitInputs, settings: EaseT) -> Self:
        """Invert the penalised Gram matrix."""
        return cls(fit_ease(gram(inputs.histories, settings.user_exponent), inputs.kernel, settings))

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product: Floats = np.asarray(x_NW @ self.matrix, dtype=np.float32)
        return product

    def contributions(self, x_NW: sparse.csr_matrix, items_NK: Ints) -> Floats:
        """[nnz, K] float32."""
        return matrix_contributions(x_NW, self.matrix, items_NK)

    def arrays(self) -> dict[str, Floats]:
        """The matrix."""
        return {"matrix": self.matrix}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: EaseT) -> Self:
        """Rebuild from the matrix."""
        cls.check_arrays(arrays, {"matrix"})
        return cls(arrays["matrix"])

    @classmethod
    def search(cls, inputs: SearchInputs, start: EaseT) -> SearchResult[EaseT]:
        """Choose penalties, then weights of content blocks unless an earlier source found them.

        All of it looks at the most frequent items, so that no matrix of the catalogue is inverted. Penalties are
        relative to the interactions per item, of which frequent items have more: what was chosen counts absolutely.
        """
        frequent = inputs.frequent
        has_content = bool(inputs.features.rows)
        weights = dict(inputs.content_weights or {})
        latest_inverse: dict[str, Floats] = {}
        kernel_FF = frequent.kernels.kernel(weights) if has_content else None

        def evaluate(candidate: EaseT) -> float:
            # The inverse does not depend on the exponent of the diagonal.
            key = candidate.model_copy(update={"diagonal_exponent": 1.0}).model_dump_json()
            if key not in latest_inverse:
                latest_inverse.clear()
                latest_inverse[key] = ease_inverse(frequent.gram(candidate.user_exponent), kernel_FF, candidate)
            return frequent.evaluate(
                cls(ease_weights(latest_inverse[key], candidate.diagonal_exponent)).score(frequent.known)
            )

        grids = dict(cls.grids)
        if not has_content:
            grids["content_scale"] = (0.0,)
        best, best_value = coordinate_search(start, grids, evaluate, inputs.rounds + 1)
        if inputs.content_weights is None and best.content_scale > 0:
            for block in inputs.features.rows:
                tried = {**weights}
                for weight in BLOCK_WEIGHTS:
                    tried[block] = weight
                    latest_inverse.clear()
                    kernel_FF = frequent.kernels.kernel(tried)
                    value = evaluate(best)
                    if value > best_value * (1 + _TOLERANCE):
                        best_value, weights = value, {**tried}
        return SearchResult(rescale_penalties(best, frequent.histories, inputs.histories), weights)


class ContentEase(EaseSource[EaseSettings]):
    """EASE with item content."""

    name: ClassVar[str] = "content_ease"
    settings_type = EaseSettings
    grids = MappingProxyType({"diagonal_exponent": (0.5, 0.75, 1.0), **PENALTIES})
