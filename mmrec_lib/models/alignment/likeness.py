"""Likeness of the modalities of an item, by what is usual in the store: an item far below contradicts itself.

Likeness is the cosine of an item's text with its image, sound or video in a space in which they agree (`cca_maps`). The
space of an item is learned from the items of other folds, so that no item teaches that its own wrong image is right.

Shape letters: I items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.alignment.closed_forms import cca_maps
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.space import NUM_FOLDS, Space, fold_arrays, fold_blocks, load_folds, of_folds
from mmrec_lib.models.alignment.views import View
from mmrec_lib.models.data import Bools, Content, Doubles, Ints

TEXT = "text"
_DIM = 32
_LARGEST = 0.999
# Of a normal distribution, the median absolute deviation times this is the standard deviation.
_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class Likeness:
    """Spaces in which the modalities agree with the text, and how alike items usually are there.

    Attributes:
        spaces: Of each fold, learned from the items of the others.
        usual: Median and robust deviation of the likeness of each modality with the text, as Fisher transforms it.
        least_z: See `AlignmentConfig.likeness_z`.
    """

    spaces: Sequence[Space]
    usual: Mapping[str, tuple[float, float]]
    least_z: float

    @classmethod
    def learn(
        cls,
        views: Mapping[str, View],
        contents: Mapping[str, Content],
        learned: Bools,
        folds: Ints,
        config: AlignmentConfig,
    ) -> Likeness | None:
        """Learn from the items that have a text and another modality; None where these are fewer than `min_items`.

        Args:
            views: The modalities.
            contents: Blocks of the catalogue.
            learned: [I] the items to learn from.
            folds: [I] from 0 to below `NUM_FOLDS`.
            config: Settings.
        """

        def num_both(name: str) -> int:
            return int((views[TEXT].has & views[name].has & learned).sum())

        others = [name for name in views if TEXT in views and name != TEXT and num_both(name) >= config.min_items]
        if not others:
            return None
        with_text = {name: views[name] for name in (TEXT, *others)}
        spaces = [
            Space.of(with_text, cca_maps(with_text, learned & (folds != fold), _DIM, config.regulariser))
            for fold in range(NUM_FOLDS)
        ]
        usual = {}
        for name, cosines in cls(spaces, {}, config.likeness_z).cosines(contents, folds).items():
            known = cosines[learned & np.isfinite(cosines)]
            median, spread = robust_centre(_evened(known))
            if len(known) >= config.min_items and spread > 0:
                usual[name] = (median, spread)
        return cls(spaces, usual, config.likeness_z) if usual else None

    def cosines(self, contents: Mapping[str, Content], folds: Ints) -> dict[str, Doubles]:
        """[I] cosine of each modality with the text of an item; NaN where it lacks one of both.

        Args:
            contents: Blocks of the items.
            folds: [I] fold of each item, whose space is taken.
        """
        vectors = of_folds(self.spaces, contents, folds)
        text = vectors.pop(TEXT, None)
        if text is None:
            return {}
        return {
            name: np.where(text.any(axis=1) & rows.any(axis=1), np.einsum("id,id->i", text, rows), np.nan)
            for name, rows in vectors.items()
        }

    def z_scores(self, contents: Mapping[str, Content], folds: Ints) -> dict[str, Doubles]:
        """[I] robust z-score of each modality's likeness with the text; NaN where an item lacks one of both."""
        cosines = self.cosines(contents, folds)
        return {
            name: (_evened(cosines[name]) - median) / spread
            for name, (median, spread) in self.usual.items()
            if name in cosines
        }

    def contradicts(self, z: Doubles) -> Bools:
        """[I] whether a modality is so far below what is usual that it contradicts the text."""
        return np.asarray(np.nan_to_num(z, nan=0.0) < self.least_z, dtype=np.bool_)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Everything that is an array, by name."""
        return fold_arrays(self.spaces, prefix)

    def meta(self) -> dict[str, Any]:
        """All else, ready for JSON."""
        return {
            "blocks": fold_blocks(self.spaces),
            "usual": {name: list(values) for name, values in self.usual.items()},
            "least_z": self.least_z,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str, meta: Mapping[str, Any]) -> Likeness:
        """Rebuild from `arrays` and `meta`."""
        usual = {name: (float(median), float(spread)) for name, (median, spread) in meta["usual"].items()}
        return cls(load_folds(arrays, prefix, meta["blocks"]), usual, meta["least_z"])


def _evened(cosines: Doubles) -> Doubles:
    """Cosines so that they spread alike near 1 and near 0: the transformation of Fisher (1915) for correlations."""
    found: Doubles = np.arctanh(np.clip(cosines, -_LARGEST, _LARGEST))
    return found


def robust_centre(values: Doubles) -> tuple[float, float]:
    """Median, and the standard deviation as the median absolute deviation tells it; zeros without a value.

    Hampel, "The Influence Curve and its Role in Robust Estimation" (1974): what is far off does not move them.
    """
    if not len(values):
        return 0.0, 0.0
    median = float(np.median(values))
    return median, _TO_DEVIATION * float(np.median(np.abs(values - median)))
