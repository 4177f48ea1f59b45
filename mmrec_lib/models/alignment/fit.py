"""Learning the joint space of a snapshot, and what it is worth on items that it has not seen.

Shape letters: I items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from scipy import sparse

from mmrec_lib.models.alignment.aligner import Aligner
from mmrec_lib.models.alignment.closed_forms import Maps, cca_maps, cooccurrence_maps, pca_maps
from mmrec_lib.models.alignment.co_consumption import co_consumption
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.likeness import Likeness
from mmrec_lib.models.alignment.space import NUM_FOLDS, Space, folds_of
from mmrec_lib.models.alignment.views import View, learn_views
from mmrec_lib.models.data import Bools, Content, FitData, Floats, Ints, row_blocks

CUT_OFFS = (1, 5, 10)
BEHAVIOURAL = ("cooccurrence", "infonce", "attention")
"""Methods that look at what the same users turn to."""
# Below that a space says more about chance than about items.
_MIN_PAIRS = 10
_QUERIES_AT_ONCE = 1_024


@dataclass(frozen=True)
class Retrieval:
    """Share of the items whose target modality is among the k nearest ones of their source modality.

    Attributes:
        source: Modality of the query.
        target: Modality that is searched.
        k: Cut-off.
        value: Recall.
        chance: What a random order gives.
        num_items: Items that have both; they are the queries and what is searched.
    """

    source: str
    target: str
    k: int
    value: float
    chance: float
    num_items: int


@dataclass(frozen=True)
class Alignment:
    """A joint space, or the reason why there is none, and the likeness of modalities.

    Attributes:
        aligner: The joint space; None where it was not asked for or cannot be learned.
        reason: The reason why it cannot be learned; empty else.
        likeness: Likeness of modalities with the text; None where too few items have both.
        retrieval: Retrieval between modalities over items that the space of their fold has not seen.
    """

    aligner: Aligner | None
    reason: str
    likeness: Likeness | None
    retrieval: list[Retrieval]


def align(data: FitData, config: AlignmentConfig) -> Alignment:
    """Learn the joint space and the likeness of modalities, crosswise: each fold of items from the others.

    Args:
        data: Contents and interactions of the training part.
        config: Settings.
    """
    folds = folds_of(data.item_ids, NUM_FOLDS)
    sampled = _sampled(len(folds), config)
    views = learn_views(data.contents, sampled, config.max_modality_dims, config.seed)
    likeness = None
    if config.find_contradictions or config.contradiction_weight < 1:
        likeness = Likeness.learn(views, data.contents, sampled, folds, config)
    if config.method == "none":
        return Alignment(None, "", likeness, [])
    num_known = int(np.any([view.has for view in views.values()], axis=0).sum()) if views else 0
    if num_known < NUM_FOLDS * _MIN_PAIRS:
        reason = (
            f"{NUM_FOLDS * _MIN_PAIRS} items with vectors of text, image, audio or video are needed, got {num_known}"
        )
        return Alignment(None, reason, likeness, [])
    related = co_consumption(data.interactions.weights, config) if config.method in BEHAVIOURAL else None
    spaces = []
    for fold in range(NUM_FOLDS):
        found = _maps(views, sampled & (folds != fold), related, config)
        if isinstance(found, str):
            return Alignment(None, found, likeness, [])
        spaces.append(Space.of(views, found))
    spaces = turned(spaces, data.contents)
    aligner = Aligner(config.method, spaces, likeness, config.contradiction_weight)
    if config.method == "attention":
        assert related is not None
        aligner = _with_attention(aligner, data, sampled, related, config)
    return Alignment(aligner, "", likeness, measure_retrieval(aligner, data, config.max_tested_items))


def _with_attention(
    aligner: Aligner, data: FitData, sampled: Bools, related: sparse.csr_matrix, config: AlignmentConfig
) -> Aligner:
    """The same space with a layer of cross-attention a fold, learned from the items of the others."""
    # Torch takes seconds to load, and no method but this and infonce needs it.
    from mmrec_lib.models.alignment.train_attention import train_attention

    folds = folds_of(data.item_ids, NUM_FOLDS)
    valid = _valid(len(folds), config)
    layers = []
    for fold in range(NUM_FOLDS):
        # Vectors as this fold's space gives them, of all items: those of the others are what it was learned from.
        vectors = aligner.spaces[fold].vectors(data.contents)
        # A modality of which this fold's space knows no item is missing everywhere.
        nothing = np.zeros((len(folds), aligner.dim), dtype=np.float32)
        vectors = {name: vectors.get(name, nothing) for name in aligner.modalities}
        known = sampled & (folds != fold) & np.any([rows.any(axis=1) for rows in vectors.values()], axis=0)
        among = _among(related, known)
        layers.append(train_attention(vectors, aligner.modalities, known & ~valid, known & valid, among, config))
    return replace(aligner, attentions=layers)


def _valid(num_items: int, config: AlignmentConfig) -> Bools:
    """[I] items that choose the epoch of a training."""
    valid: Bools = np.random.default_rng(config.seed).random(num_items) < config.valid_share
    return valid


def _sampled(num_items: int, config: AlignmentConfig) -> Bools:
    """[I] the items that are looked at."""
    sampled = np.ones(num_items, dtype=np.bool_)
    if num_items > config.max_items:
        sampled[:] = False
        sampled[np.random.default_rng(config.seed).choice(num_items, config.max_items, replace=False)] = True
    return sampled


def _maps(
    views: Mapping[str, View], learned: Bools, related: sparse.csr_matrix | None, config: AlignmentConfig
) -> Maps | str:
    """Maps of the chosen method, or the reason why there are none."""
    if config.method == "pca":
        return pca_maps(views, learned, config.dim, config.seed)
    linked = any(_num_common(views, pair, learned) >= _MIN_PAIRS for pair in combinations(views, 2))
    if related is None:
        if linked:
            return cca_maps(views, learned, config.dim, config.regulariser)
        return f"no two modalities have {_MIN_PAIRS} items in common"
    known = learned & np.any([view.has for view in views.values()], axis=0)
    related = _among(related, known)
    num_related = int((np.diff(related.indptr) > 0).sum())
    if num_related < _MIN_PAIRS and not (linked and config.method != "cooccurrence"):
        return f"only {num_related} items with content share users with others, {_MIN_PAIRS} are needed"
    if config.method == "cooccurrence":
        return cooccurrence_maps(
            views, known, related, dim=config.dim, regulariser=config.regulariser, seed=config.seed
        )
    # As in `_with_attention`.
    from mmrec_lib.models.alignment.infonce import infonce_maps

    valid = known & _valid(len(known), config)
    trained = known & ~valid
    if linked:
        start = cca_maps(views, trained, config.dim, config.regulariser)
    else:
        start = pca_maps(views, trained, config.dim, config.seed)
    return infonce_maps(views, trained, valid, related, start, config)


def turned(spaces: Sequence[Space], contents: Mapping[str, Content]) -> list[Space]:
    """Spaces of which each is turned so that the vectors of items are near those of the first.

    Orthogonal Procrustes: Schönemann, "A generalized solution of the orthogonal Procrustes problem" (1966). Turning
    changes no cosine within a space.
    """
    dim = min(space.dim for space in spaces)
    first, *others = (space.times(np.eye(space.dim, dim, dtype=np.float32)) for space in spaces)
    wanted = first.vectors(contents)
    found = [first]
    for space in others:
        own = space.vectors(contents)
        product = np.zeros((dim, dim))
        for name in sorted(own.keys() & wanted.keys()):
            product += own[name].T.astype(np.float64) @ wanted[name]
        left, _, right = np.linalg.svd(product)
        found.append(space.times((left @ right).astype(np.float32)))
    return found


def _num_common(views: Mapping[str, View], pair: tuple[str, str], learned: Bools) -> int:
    left, right = pair
    return int((views[left].has & views[right].has & learned).sum())


def _among(related: sparse.csr_matrix, kept: Bools) -> sparse.csr_matrix:
    """The same associations, only between some items."""
    on = sparse.diags_array(kept.astype(np.float32))
    found = sparse.csr_matrix(on @ related @ on)
    found.eliminate_zeros()
    return found


def measure_retrieval(aligner: Aligner, data: FitData, max_items: int) -> list[Retrieval]:
    """Retrieval between each two modalities, both ways, of each fold among its own items; the mean over folds.

    Args:
        aligner: The joint space.
        data: Contents of the catalogue.
        max_items: Items of a fold that are measured, at most; the first ones in the order of the catalogue.
    """
    folds = folds_of(data.item_ids, len(aligner.spaces))
    vectors = aligner.vectors(data.contents, data.item_ids)
    found = []
    for source, target in permutations(sorted(vectors), 2):
        has_both = vectors[source].any(axis=1) & vectors[target].any(axis=1)
        chosen = [np.flatnonzero(has_both & (folds == fold))[:max_items] for fold in range(len(aligner.spaces))]
        if min(map(len, chosen)) < 2:
            continue
        ranks = np.concatenate([_own_ranks(vectors[source][own], vectors[target][own]) for own in chosen])
        sizes = np.concatenate([np.full(len(own), len(own)) for own in chosen])
        found += [
            Retrieval(source, target, k, float((ranks <= k).mean()), float(np.minimum(k / sizes, 1).mean()), len(ranks))
            for k in CUT_OFFS
        ]
    return found


def _own_ranks(queries: Floats, targets: Floats) -> Ints:
    """[n] rank of each query's own target among all, from 1; of equal ones the own comes last."""
    ranks = np.empty(len(queries), dtype=np.int64)
    for rows in row_blocks(len(queries), _QUERIES_AT_ONCE):
        scores = queries[rows] @ targets.T
        own = scores[np.arange(len(scores)), np.arange(rows.start, rows.stop)]
        ranks[rows] = (scores >= own[:, None]).sum(axis=1)
    return ranks
