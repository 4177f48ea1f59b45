"""Metrics of fitted models on a part of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.evaluate import evaluate
from mmrec_lib.evaluation.groups import GroupFacts
from mmrec_lib.evaluation.rankings import Scorer
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.data import Content, Histories
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.sources.content import ALIGNED, modality_of
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import PreparedItems
from mmrec_lib.topk.selection import TopItems


def compiled_search(
    items: PreparedItems, users_ND: npt.NDArray[np.float32], k: int, seen: sparse.csr_matrix
) -> TopItems:
    """Search for `FittedRanker.project`, in compiled kernels where it is large; a served ranker has numpy alone."""
    return search(items, users_ND, k, seen=seen)


@dataclass(frozen=True)
class _Compiled:
    """A ranker that searches by `compiled_search`."""

    ranker: FittedRanker

    def score(self, histories: Histories) -> npt.NDArray[np.float32]:
        """Scores over the catalogue, [n, I]."""
        return self.ranker.score(histories, compiled_search)


def compiled(models: Mapping[str, Scorer[Histories]]) -> dict[str, Scorer[Histories]]:
    """The models, those that are rankers with a compiled search."""
    return {name: _Compiled(model) if isinstance(model, FittedRanker) else model for name, model in models.items()}


def evaluate_part(
    snapshot: Snapshot, fit: str, part: str, models: Mapping[str, Scorer[Histories]], config: EvaluationConfig
) -> list[MetricRow]:
    """Metrics of fitted models on a part: items of the fit are masked, everything else in the part is relevant.

    Args:
        snapshot: Data.
        fit: What the models were fitted on.
        part: valid or test.
        models: By name.
        config: Cut-offs and bootstrap.
    """
    data = snapshot.fit_data(fit)
    seen = data.interactions.weights
    return evaluate(
        compiled(models),
        data.histories(),
        seen,
        snapshot.parts[part].weights,
        warm_users=np.diff(seen.indptr) > 0,
        cold_items=data.interactions.item_counts() == 0,
        ks=config.ks,
        num_bootstrap=config.num_bootstrap,
        max_users=config.max_users,
        block=config.block_users(len(snapshot.item_ids)),
        facts=GroupFacts(data.user_attributes, items_with_modality(data.contents)),
        groups=config.groups,
    )


def items_with_modality(contents: Mapping[str, Content]) -> dict[str, npt.NDArray[np.bool_]]:
    """Items with vectors of a modality: [I] bool; tokens are of none, and a joint space is no modality of its own."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for name, content in contents.items():
        modality = modality_of(name)
        if content.kind == "dense" and modality != ALIGNED:
            found[modality] = content.has | found.get(modality, np.zeros_like(content.has))
    return found
