"""Contents that contradict each other, and near-duplicates: one finding an item, kind and counterpart.

Shape letters: I items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.likeness import TEXT, Likeness, robust_centre
from mmrec_lib.models.alignment.space import NUM_FOLDS, folds_of
from mmrec_lib.models.alignment.views import finite
from mmrec_lib.models.data import Content, Doubles, Ints
from mmrec_lib.models.sources.content import ALIGNED, modality_of
from mmrec_lib.reranking.duplicates import find_duplicate_groups, title_codes
from mmrec_lib.reranking.facts import unit_rows

Kind = Literal["modality", "price", "near_duplicate"]
# Of log prices: where all cost the same, a tenth more is no contradiction.
_LEAST_SPREAD = 0.1
_MAX_COMPARED = 256


@dataclass(frozen=True)
class Finding:
    """A contradiction in the contents of an item, or an item that it nearly is.

    Attributes:
        item: Position of the item.
        kind: Which of its contents it is about.
        against: Modality, category or item; see the table content_finding.
        score: Robust z-score, or a cosine.
        threshold: Score from which on it is told.
        told: The finding in words.
    """

    item: int
    kind: Kind
    against: str
    score: float
    threshold: float
    told: str


def modality_findings(
    likeness: Likeness, contents: Mapping[str, Content], item_ids: npt.NDArray[np.str_]
) -> Iterator[Finding]:
    """Modalities that go with the text of their item far less than is usual.

    Args:
        likeness: The likeness of modalities with the text.
        contents: Blocks of the catalogue.
        item_ids: [I] ids of its items.
    """
    folds = folds_of(item_ids, NUM_FOLDS)
    cosines = likeness.cosines(contents, folds)
    for modality, z in likeness.z_scores(contents, folds).items():
        usual = float(np.tanh(likeness.usual[modality][0]))
        for item in np.flatnonzero(likeness.contradicts(z)).tolist():
            told = (
                f"{modality} and {TEXT} do not go together: their likeness is {cosines[modality][item]:.2f}, "
                f"{usual:.2f} is usual"
            )
            yield Finding(item, "modality", modality, float(z[item]), likeness.least_z, told)


def price_findings(prices: Doubles, categories: Sequence[Sequence[str]], config: AlignmentConfig) -> Iterator[Finding]:
    """Prices that are far from those of each category of their item.

    Args:
        prices: [I] prices; NaN where unknown. Those of 0 or below have no logarithm and are passed over.
        categories: [I] categories of each item; those with fewer than `min_items` prices tell nothing.
        config: Bounds.
    """
    rows = np.repeat(np.arange(len(prices)), [len(names) for names in categories])
    names = np.array([name for of_item in categories for name in of_item], dtype=np.object_)
    is_known = np.isfinite(prices[rows]) & (np.nan_to_num(prices[rows]) > 0)
    rows, names = rows[is_known], names[is_known]
    known, codes = np.unique(names.astype(np.str_), return_inverse=True)
    logs = np.log(prices[rows])
    z = np.full(len(rows), np.nan)
    medians = np.zeros(len(known))
    order = np.argsort(codes, kind="stable")
    for own in np.split(order, np.cumsum(np.bincount(codes, minlength=len(known)))[:-1]) if len(known) else ():
        if len(own) >= config.min_items:
            median, spread = robust_centre(logs[own])
            medians[codes[own[0]]] = median
            z[own] = (logs[own] - median) / max(spread, _LEAST_SPREAD)
    told = np.flatnonzero(np.isfinite(z))
    # Of several categories the one that the price fits best: it may fit one of them.
    nearest_first = told[np.lexsort((codes[told], np.abs(z[told]), rows[told]))]
    _, first = np.unique(rows[nearest_first], return_index=True)
    for place in nearest_first[first]:
        if abs(z[place]) > config.price_z:
            item, category = int(rows[place]), str(known[codes[place]])
            side = "above" if z[place] > 0 else "below"
            words = (
                f"the price {prices[item]:.2f} is far {side} those of {category}, where "
                f"{np.exp(medians[codes[place]]):.2f} is usual"
            )
            threshold = float(np.copysign(config.price_z, z[place]))
            yield Finding(item, "price", category, float(z[place]), threshold, words)


def duplicate_findings(
    contents: Mapping[str, Content],
    titles: Sequence[str | None],
    item_ids: npt.NDArray[np.str_],
    config: AlignmentConfig,
) -> Iterator[Finding]:
    """Items whose contents and title are nearly those of an item before them.

    Args:
        contents: Blocks of the catalogue; dense ones are compared, side by side.
        titles: [I] titles.
        item_ids: [I] ids.
        config: Bounds.
    """
    dense = [finite(c).matrix for name, c in contents.items() if c.kind == "dense" and modality_of(name) != ALIGNED]
    if not dense or not len(titles):
        return
    vectors = unit_rows(np.hstack([unit_rows(np.asarray(matrix)) for matrix in dense]))
    groups = find_duplicate_groups(vectors, config.duplicate_cosine, titles=title_codes(titles))
    for members in _members(groups):
        for place, item in enumerate(members[1:].tolist(), start=1):
            earlier = members[:place][:_MAX_COMPARED]
            cosines = vectors[earlier] @ vectors[item]
            nearest = int(np.argmax(cosines))
            like = str(item_ids[earlier[nearest]])
            told = f"contents and title are nearly those of {like}"
            score = min(float(cosines[nearest]), 1.0)
            yield Finding(item, "near_duplicate", like, score, config.duplicate_cosine, told)


def _members(groups: npt.NDArray[np.int32]) -> Iterator[Ints]:
    """Items of each group, in their order."""
    grouped = np.flatnonzero(groups >= 0)
    order = grouped[np.argsort(groups[grouped], kind="stable")]
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
