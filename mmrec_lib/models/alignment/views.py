"""The modalities of items, each as one matrix: what alignment learns from.

Shape letters: I items, D columns of a block, R leading directions of a modality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmrec_lib.models.data import Bools, Content, Floats, unit_rows
from mmrec_lib.models.sources.content import ALIGNED, BlockTransform, modality_of
from mmrec_lib.models.sources.range_finder import top_right_vectors

# Texts that were read out of an image or sound agree with it by nature: they would teach and prove nothing.
_FOUND_IN_MEDIA = ("transcript", "ocr", "labels", "tags")
# A row this short beside its mean is a constant that was rounded.
_LEAST_LENGTH = 1e-4
_ITEMS_A_DIRECTION = 4


@dataclass(frozen=True)
class ViewBlock:
    """One block of content on its way into a modality.

    Attributes:
        transform: How raw vectors become unit rows around the mean of the items learned from.
        directions: [D, R] from unit rows to the modality's directions.
    """

    transform: BlockTransform
    directions: Floats


@dataclass(frozen=True)
class View:
    """One modality.

    Attributes:
        blocks: By name.
        rows: [I, R] float32 unit rows over the leading directions; zeros where an item lacks the modality.
        has: [I] whether it has it.
    """

    blocks: Mapping[str, ViewBlock]
    rows: Floats
    has: Bools


def view_blocks(contents: Mapping[str, Content]) -> dict[str, list[str]]:
    """Names of the dense blocks that are aligned, by modality: no texts found in media, nothing aligned already."""
    found: dict[str, list[str]] = {}
    for name, content in sorted(contents.items()):
        modality, _, field = name.partition(":")
        is_own = field.partition(":")[0] not in _FOUND_IN_MEDIA and modality != ALIGNED
        if is_own and content.kind == "dense":
            found.setdefault(modality_of(name), []).append(name)
    return found


def block_rows(transform: BlockTransform, content: Content) -> Floats:
    """[I, D] unit rows of a block around its mean; zeros where it is missing, not finite or constant.

    Raises:
        ModelError: When its vectors have another length than those that the transform was learned from.
    """
    clean = finite(content)
    rows = transform.apply(clean)
    assert isinstance(rows, np.ndarray) and isinstance(clean.matrix, np.ndarray)
    away = np.linalg.norm(np.where(clean.has[:, None], clean.matrix - transform.offset, 0), axis=1)
    scale = np.maximum(np.linalg.norm(clean.matrix, axis=1), float(np.linalg.norm(transform.offset)))
    rows[away <= _LEAST_LENGTH * scale] = 0
    return rows


def finite(content: Content) -> Content:
    """A dense block whose rows that are not finite are missing."""
    assert isinstance(content.matrix, np.ndarray)
    is_finite = np.isfinite(content.matrix).all(axis=1)
    return content if is_finite.all() else Content.from_vectors(content.name, content.matrix, content.has & is_finite)


def learn_views(contents: Mapping[str, Content], learned: Bools, max_dims: int, seed: int) -> dict[str, View]:
    """The modalities of all items, their means and directions learned from some; those without two such are left out.

    Args:
        contents: Blocks of the catalogue.
        learned: [I] the items to learn from.
        max_dims: R at most; no more than a quarter of the items that have a modality.
        seed: Seed of the range finder.
    """
    found = {}
    for modality, names in view_blocks(contents).items():
        transforms, unit = {}, {}
        for name in names:
            clean = finite(contents[name])
            known = Content(name, "dense", clean.matrix, clean.has & learned)
            transforms[name] = BlockTransform.learn(known)
            unit[name] = block_rows(transforms[name], contents[name])
        side_by_side = np.hstack([unit[name] for name in names])
        has: Bools = np.asarray(side_by_side.any(axis=1), dtype=np.bool_)
        num_known = int((has & learned).sum())
        if num_known < 2:
            continue
        rank = max(1, min(max_dims, num_known // _ITEMS_A_DIRECTION, side_by_side.shape[1]))
        directions, _ = top_right_vectors(side_by_side[has & learned], rank, seed)
        ends = np.cumsum([transforms[name].offset.shape[0] for name in names])[:-1]
        parts = dict(zip(names, np.split(directions, ends), strict=True))
        blocks = {name: ViewBlock(transforms[name], parts[name]) for name in names}
        found[modality] = View(blocks, unit_rows(side_by_side @ directions), has)
    return found
