"""A space in which vectors of several modalities can be compared: one linear map a block of content.

Shape letters: I items, D columns of a block, R leading directions of a modality, d dimensions of the space.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.alignment.closed_forms import Maps
from mmrec_lib.models.alignment.views import View, ViewBlock, block_rows
from mmrec_lib.models.data import Content, Floats, Ints, unit_rows
from mmrec_lib.models.sources.content import BlockTransform, modality_of

NUM_FOLDS = 3


@dataclass(frozen=True)
class Space:
    """The maps.

    Attributes:
        blocks: How each block becomes unit rows, and its map [D, d].
    """

    blocks: Mapping[str, ViewBlock]

    @classmethod
    def of(cls, views: Mapping[str, View], maps: Maps) -> Space:
        """From maps [R, d] of modalities, with the directions that lead to R."""
        return cls(
            {
                name: ViewBlock(block.transform, block.directions @ matrix)
                for modality, matrix in maps.items()
                for name, block in views[modality].blocks.items()
            }
        )

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(next(iter(self.blocks.values())).directions.shape[1])

    def times(self, matrix: Floats) -> Space:
        """The space after a further map [d, d']."""
        return Space(
            {name: ViewBlock(block.transform, block.directions @ matrix) for name, block in self.blocks.items()}
        )

    def vectors(self, contents: Mapping[str, Content]) -> dict[str, Floats]:
        """[I, d] vectors of length 1 of each modality; zeros where an item lacks it.

        Args:
            contents: Blocks of the items; those that the space does not know are ignored, missing ones count as none.

        Raises:
            ModelError: When a block has vectors of another length than at the fit.
        """
        sums: dict[str, Floats] = {}
        for name, block in self.blocks.items():
            if name in contents:
                part = block_rows(block.transform, contents[name]) @ block.directions
                modality = modality_of(name)
                sums[modality] = sums[modality] + part if modality in sums else part
        return {modality: unit_rows(rows) for modality, rows in sums.items()}

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Everything that is an array, by name."""
        found = {}
        for place, block in enumerate(self.blocks.values()):
            found[f"{prefix}{place}/offset"] = block.transform.offset
            found[f"{prefix}{place}/map"] = block.directions
        return found

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str, names: Sequence[str]) -> Space:
        """Rebuild from `arrays` and the names of the blocks in their order."""
        return cls(
            {
                name: ViewBlock(
                    BlockTransform(name, "dense", arrays[f"{prefix}{place}/offset"]), arrays[f"{prefix}{place}/map"]
                )
                for place, name in enumerate(names)
            }
        )


def folds_of(item_ids: Sequence[str] | npt.NDArray[np.str_], num_folds: int) -> Ints:
    """[I] fold of each item; it follows from the id alone."""
    hashes = [zlib.crc32(str(item_id).encode("utf-8", "surrogatepass")) for item_id in item_ids]
    return np.array(hashes, dtype=np.int64) % num_folds


def of_folds(spaces: Sequence[Space], contents: Mapping[str, Content], folds: Ints) -> dict[str, Floats]:
    """[I, d] vectors of each modality, of each item by the space of its fold; see `Space.vectors`.

    Args:
        spaces: Of each fold.
        contents: Blocks of the items.
        folds: [I] fold of each item.
    """
    found: dict[str, Floats] = {}
    for fold, space in enumerate(spaces):
        own = np.flatnonzero(folds == fold)
        parts = {name: contents[name].rows(own) for name in space.blocks if name in contents}
        for modality, rows in space.vectors(parts).items():
            found.setdefault(modality, np.zeros((len(folds), space.dim), dtype=np.float32))[own] = rows
    return found


def fold_arrays(spaces: Sequence[Space], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Arrays of the spaces of all folds, by name; with `fold_blocks` enough for `load_folds`."""
    return {name: a for fold, space in enumerate(spaces) for name, a in space.arrays(f"{prefix}{fold}/").items()}


def fold_blocks(spaces: Sequence[Space]) -> list[list[str]]:
    """Names of the blocks of each fold's space."""
    return [list(space.blocks) for space in spaces]


def load_folds(arrays: Mapping[str, npt.NDArray[Any]], prefix: str, blocks: Sequence[Sequence[str]]) -> list[Space]:
    """Rebuild from `fold_arrays` and `fold_blocks`."""
    return [Space.load(arrays, f"{prefix}{fold}/", names) for fold, names in enumerate(blocks)]
