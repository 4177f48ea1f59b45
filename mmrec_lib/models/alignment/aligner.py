"""The joint space of modalities, as it is saved and applied: contents in, vectors out.

Shape letters: I items, d dimensions of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.alignment.attention import CrossAttention
from mmrec_lib.models.alignment.likeness import Likeness
from mmrec_lib.models.alignment.space import Space, fold_arrays, fold_blocks, folds_of, load_folds, of_folds
from mmrec_lib.models.data import Content, Floats, Ints, unit_rows
from mmrec_lib.models.sources.content import ALIGNED, modality_of


@dataclass(frozen=True)
class Aligner:
    """A joint space, and how the modalities of an item become one vector.

    Attributes:
        method: How the space was learned.
        spaces: Of each fold of items, learned from the items of the others and turned so that vectors can be compared.
            What an item did in training is not in its own vector, so that validation on it is true of new ones.
        likeness: Tells which modalities contradict the text; None where all weigh alike.
        contradiction_weight: Weight of those in a joint vector.
        attentions: Of each fold, what makes one vector of an item's modalities; their mean where there is none.
    """

    method: str
    spaces: Sequence[Space]
    likeness: Likeness | None = None
    contradiction_weight: float = 1.0
    attentions: Sequence[CrossAttention] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the space knows."""
        return tuple(sorted({modality_of(name) for space in self.spaces for name in space.blocks}))

    @property
    def block_name(self) -> str:
        """Name of the block of content that the joint space is."""
        return f"{ALIGNED}:{self.method}"

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self.spaces[0].dim

    def vectors(
        self, contents: Mapping[str, Content], item_ids: npt.NDArray[np.str_] | None = None
    ) -> dict[str, Floats]:
        """[I, d] vectors of length 1 of each modality in the joint space; zeros where an item lacks it.

        Args:
            contents: Blocks of the items; those that the space does not know are ignored, missing ones count as none.
            item_ids: [I] ids of items that the space may have been learned from; None for others, which get the mean
                of what all folds say.

        Raises:
            ModelError: When a block has vectors of another length than at the fit.
        """
        if item_ids is not None:
            return of_folds(self.spaces, contents, folds_of(item_ids, len(self.spaces)))
        total: dict[str, Floats] = {}
        for space in self.spaces:
            for modality, rows in space.vectors(contents).items():
                total[modality] = total[modality] + rows if modality in total else rows
        return {modality: unit_rows(rows) for modality, rows in total.items()}

    def block(
        self, contents: Mapping[str, Content], num_items: int, item_ids: npt.NDArray[np.str_] | None = None
    ) -> Content:
        """Joint vectors as a block of content: of length 1, see `attentions`; zeros without any modality.

        Args:
            contents: See `vectors`.
            num_items: I.
            item_ids: See `vectors`.
        """
        weights = self._weights(contents, num_items, item_ids)
        if self.attentions:
            return Content.from_vectors(self.block_name, self._attended(contents, num_items, item_ids, weights))
        total = np.zeros((num_items, self.dim), dtype=np.float32)
        for modality, rows in self.vectors(contents, item_ids).items():
            total += rows * weights[modality][:, None] if modality in weights else rows
        return Content.from_vectors(self.block_name, unit_rows(total))

    def with_block(
        self, contents: Mapping[str, Content], num_items: int, item_ids: npt.NDArray[np.str_] | None = None
    ) -> dict[str, Content]:
        """The contents with the joint space beside them; see `block`."""
        return {**contents, self.block_name: self.block(contents, num_items, item_ids)}

    def _attended(
        self,
        contents: Mapping[str, Content],
        num_items: int,
        item_ids: npt.NDArray[np.str_] | None,
        weights: Mapping[str, Floats],
    ) -> Floats:
        """[I, d] joint vectors by the attention of each item's fold; for other items the mean of what all folds say."""
        total = np.zeros((num_items, self.dim), dtype=np.float32)
        everyone = np.arange(num_items)
        for fold, (space, attention) in enumerate(zip(self.spaces, self.attentions, strict=True)):
            own = everyone if item_ids is None else np.flatnonzero(folds_of(item_ids, len(self.spaces)) == fold)
            vectors = space.vectors({name: contents[name].rows(own) for name in space.blocks if name in contents})
            if vectors:
                own_weights = {modality: weight[own] for modality, weight in weights.items()}
                total[own] += attention.joint(vectors, self.modalities, own_weights)
        return unit_rows(total)

    def _weights(
        self, contents: Mapping[str, Content], num_items: int, item_ids: npt.NDArray[np.str_] | None
    ) -> dict[str, Floats]:
        """[I] weight of each modality that can contradict the text."""
        if self.likeness is None or self.contradiction_weight == 1:
            return {}
        # Any fold is right for an item that none of them has seen.
        folds: Ints = np.zeros(num_items, dtype=np.int64) if item_ids is None else folds_of(item_ids, len(self.spaces))
        return {
            modality: np.where(self.likeness.contradicts(z), self.contradiction_weight, 1.0).astype(np.float32)
            for modality, z in self.likeness.z_scores(contents, folds).items()
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that is an array, by name."""
        found = {} if self.likeness is None else self.likeness.arrays("likeness/")
        for fold, attention in enumerate(self.attentions):
            found |= attention.arrays(f"attention/{fold}/")
        return found | fold_arrays(self.spaces, "space/")

    def meta(self) -> dict[str, Any]:
        """All else, ready for JSON."""
        return {
            "method": self.method,
            "blocks": fold_blocks(self.spaces),
            "likeness": None if self.likeness is None else self.likeness.meta(),
            "contradiction_weight": self.contradiction_weight,
            "num_attentions": len(self.attentions),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> Aligner:
        """Rebuild from `arrays` and `meta`."""
        likeness = None if meta["likeness"] is None else Likeness.load(arrays, "likeness/", meta["likeness"])
        # Those of an earlier version have none.
        attentions = [
            CrossAttention.load(arrays, f"attention/{fold}/") for fold in range(meta.get("num_attentions", 0))
        ]
        spaces = load_folds(arrays, "space/", meta["blocks"])
        return cls(meta["method"], spaces, likeness, meta["contradiction_weight"], attentions)
