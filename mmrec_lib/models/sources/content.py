"""Item contents as kernels: how alike two items are, by each block of features.

A dense block is centred over the items that have it and its rows are scaled to length 1; a sparse block is weighted by
inverse document frequency before. An item without a block is a zero row there: it is like nothing, and nothing is
filled in. The kernel of all blocks is the sum of their linear kernels with one weight a block.

Shape letters: I items, D feature columns of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Bools, Content, Floats
from mmrec_lib.models.ids import IdIndex, Mapped

_MODALITIES = {"attributes": "attribute", "relations": "graph"}
"""Modality of the blocks that rare attributes and relations share."""
ALIGNED = "aligned"
"""Modality of a block that is a joint space of others: it has no weight before a search gives it one."""


def modality_of(block: str) -> str:
    """Modality of a block, the first part of its name: text, image, audio, video, joint, attribute, graph."""
    kind = block.partition(":")[0]
    return _MODALITIES.get(kind, kind)


@dataclass(frozen=True)
class BlockTransform:
    """The transform of one block's raw features to unit rows, learned from the items of a fit.

    Attributes:
        name: Name of the block.
        kind: dense or sparse.
        offset: [D] mean over the items that have a dense block, or inverse document frequency of a sparse one.
        tokens: [D] names of a sparse block's columns.
    """

    name: str
    kind: Literal["dense", "sparse"]
    offset: Floats
    tokens: tuple[str, ...] = ()

    @classmethod
    def learn(cls, content: Content) -> BlockTransform:
        """Mean or inverse document frequency of the items that have the block."""
        if isinstance(content.matrix, np.ndarray):
            count = max(int(content.has.sum()), 1)
            mean_D = content.matrix[content.has].sum(axis=0, dtype=np.float64) / count
            return cls(content.name, "dense", mean_D.astype(np.float32))
        num_items_D = np.bincount(content.matrix.indices, minlength=content.matrix.shape[1])
        total = max(int(content.has.sum()), 1)
        idf_D = np.log((1.0 + total) / (1.0 + num_items_D)) + 1.0
        return cls(content.name, "sparse", idf_D.astype(np.float32), content.tokens)

    def apply(self, content: Content) -> Floats | sparse.csr_matrix:
        """Unit rows of these items in the block's learned columns, [items, D]; zero rows where missing.

        Raises:
            ModelError: When the block is of another kind or length than the learned one.
        """
        if content.kind != self.kind:
            raise ModelError(f"content {self.name}: fitted as a {self.kind} block, got a {content.kind} one")
        if isinstance(content.matrix, np.ndarray):
            if content.matrix.shape[1] != len(self.offset):
                raise ModelError(
                    f"content {self.name}: fitted with vectors of length {len(self.offset)}, got "
                    f"{content.matrix.shape[1]}; encode new items with the encoder of the fit"
                )
            centred = np.where(content.has[:, None], content.matrix - self.offset, np.float32(0))
            length = np.linalg.norm(centred, axis=1, keepdims=True)
            dense: Floats = (centred / np.maximum(length, 1e-12)).astype(np.float32)
            return dense
        matrix = content.matrix if content.tokens == self.tokens else _renamed(content, self.tokens)
        weighted = sparse.csr_matrix(matrix @ sparse.diags_array(self.offset))
        length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        unit = sparse.csr_matrix(sparse.diags_array(1.0 / np.maximum(length, 1e-12)) @ weighted)
        return unit.astype(np.float32)


def _renamed(content: Content, tokens: tuple[str, ...]) -> sparse.csr_matrix:
    """The block's rows over other token columns; tokens that the fit did not know are dropped."""
    matrix = sparse.csr_matrix(content.matrix)
    mapped = Mapped(content.tokens, IdIndex(tokens, f"tokens of {content.name}"))
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    known = mapped.known[matrix.indices]
    columns = mapped.of(matrix.indices[known])
    return sparse.csr_matrix(
        (matrix.data[known], (rows[known], columns)), shape=(matrix.shape[0], len(tokens)), dtype=np.float32
    )


@dataclass(frozen=True)
class ContentFeatures:
    """All blocks of a fit as unit rows, with the transforms that made them.

    Attributes:
        transforms: How each block's raw features become unit rows.
        rows: [I, D] unit rows of each block.
    """

    transforms: Mapping[str, BlockTransform]
    rows: Mapping[str, Floats | sparse.csr_matrix]

    @classmethod
    def learn(cls, contents: Mapping[str, Content]) -> ContentFeatures:
        """Transforms and unit rows of all blocks that at least two items have."""
        # A joint space comes last: a search that drops it has chosen all else as it does without it.
        names = sorted(contents, key=lambda name: (modality_of(name) == ALIGNED, name))
        useful = {name: contents[name] for name in names if int(contents[name].has.sum()) >= 2}
        transforms = {name: BlockTransform.learn(content) for name, content in useful.items()}
        return cls(transforms, {name: transforms[name].apply(content) for name, content in useful.items()})

    def weighted(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The weight of each block that is there and has one: where none is given 1, of a joint space 0."""
        chosen = {name: float(weights.get(name, modality_of(name) != ALIGNED)) for name in self.rows}
        return {name: weight for name, weight in chosen.items() if weight > 0}

    def has_any(self, weights: Mapping[str, float]) -> Bools:
        """[I] whether an item has at least one block of positive weight."""
        some: Bools = np.zeros(self.num_items, dtype=np.bool_)
        for name in self.weighted(weights):
            rows = self.rows[name]
            some |= rows.any(axis=1) if isinstance(rows, np.ndarray) else np.diff(rows.indptr) > 0
        return some

    @property
    def num_items(self) -> int:
        """I, 0 without any block."""
        return next((int(rows.shape[0]) for rows in self.rows.values()), 0)

    def block_kernel(self, name: str, left: Bools, right: Bools) -> Floats:
        """[left items, right items] float32 linear kernel of one block; left and right are [I] masks."""
        rows = self.rows[name]
        if isinstance(rows, np.ndarray):
            dense: Floats = rows[left] @ rows[right].T
            return dense
        tokens: Floats = (rows[left] @ rows[right].T).toarray().astype(np.float32)
        return tokens

    def kernel(self, weights: Mapping[str, float], left: Bools, right: Bools) -> Floats | None:
        """[left items, right items] float32 weighted sum of the block kernels, None without a block."""
        return _weighted_sum(self.weighted(weights), lambda name: self.block_kernel(name, left, right))


@dataclass(frozen=True)
class BlockKernels:
    """Kernels of every block between the same items, computed once for a search that tries many weights.

    Attributes:
        features: The blocks.
        parts: [left items, right items] float32 linear kernel of each block.
    """

    features: ContentFeatures
    parts: Mapping[str, Floats]

    @classmethod
    def of(cls, features: ContentFeatures, left: Bools, right: Bools) -> BlockKernels:
        """Compute the kernels; left and right are [I] masks."""
        return cls(features, {name: features.block_kernel(name, left, right) for name in features.rows})

    def kernel(self, weights: Mapping[str, float]) -> Floats | None:
        """Their weighted sum, as `ContentFeatures.kernel`."""
        return _weighted_sum(self.features.weighted(weights), self.parts.__getitem__)


def _weighted_sum(weights: Mapping[str, float], part: Callable[[str], Floats]) -> Floats | None:
    total: Floats | None = None
    for name, weight in weights.items():
        weighted = part(name) * np.float32(weight)
        total = weighted if total is None else total + weighted
    return total
