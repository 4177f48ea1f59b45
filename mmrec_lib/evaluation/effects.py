"""Effects of re-ranking: metrics of lists before and after it, as rows of `model_metric`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.lists import catalogue_coverage, gini, intra_list_diversity, miscalibration, novelty
from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.evaluation.significance import mean_intervals

BEFORE, AFTER = "ranker", "reranked"
LIST_METRICS = ("ndcg", "diversity", "novelty", "miscalibration", "coverage", "gini")


@dataclass(frozen=True)
class ListFacts:
    """Facts of items and users for metrics of lists.

    Attributes:
        popularity: [I] number of interactions.
        vectors: [I, d] content vectors of length 1 or 0; None leaves diversity out.
        categories: [I, G] every stored entry is a category; None leaves miscalibration out.
        history: [n, I] weights of what the users turned to; None leaves miscalibration out.
        relevant: [n, I] what they turned to later; None leaves nDCG out.
    """

    popularity: NDArray[np.floating]
    vectors: NDArray[np.float32] | None = None
    categories: sparse.csr_matrix | None = None
    history: sparse.csr_matrix | None = None
    relevant: sparse.csr_matrix | None = None


def reranking_effects(
    before: NDArray[np.int32],
    after: NDArray[np.int32],
    facts: ListFacts,
    *,
    ks: Sequence[int] = (10, 20),
    segment: str = "all",
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[MetricRow]:
    """Metrics of the first stage's lists (model `ranker`) and of the re-ranked ones (model `reranked`).

    Rows of `reranked` have the paired difference to `ranker`, ranker minus reranked as everywhere in the table. A
    metric by user is averaged over the users for whom it is defined in both lists; nDCG over those with a relevant
    item.

    Args:
        before: [n, at least max(ks)] item indices, best first, -1 where a list ends early.
        after: [n, at least max(ks)] of the same users.
        facts: What the metrics need; those that lack something are left out.
        ks: Cut-offs.
        segment: Name of the users.
        num_bootstrap: Resamples of users.
        seed: Same seed, same intervals.

    Raises:
        ModelError: When the numbers of users differ or a cut-off is longer than the lists.
    """
    if before.shape[0] != after.shape[0]:
        raise ModelError(f"re-ranking effects: both lists need the same users, got {len(before)} and {len(after)}")
    if not ks or min(ks) < 1 or max(ks) > min(before.shape[1], after.shape[1]):
        length = min(before.shape[1], after.shape[1])
        raise ModelError(f"re-ranking effects: cut-offs must lie between 1 and {length}, got {list(ks)}")
    rows: list[MetricRow] = []
    num_items = len(facts.popularity)
    for k in ks:
        for (metric, old), new in zip(
            _values_by_user(before, facts, k).items(), _values_by_user(after, facts, k).values(), strict=True
        ):
            is_defined = ~(np.isnan(old) | np.isnan(new))
            if is_defined.any():
                draw = zlib.crc32(f"{seed}:{segment}:{metric}@{k}".encode())
                rows += _paired_rows(metric, k, segment, old[is_defined], new[is_defined], num_bootstrap, draw)
        for model, top in ((BEFORE, before), (AFTER, after)):
            for metric, value in (
                ("coverage", catalogue_coverage(top, num_items, k)),
                ("gini", gini(top, num_items, k)),
            ):
                rows.append(MetricRow(model, segment, metric, k, value, num_users=len(top)))
    return rows


def _values_by_user(top: NDArray[np.int32], facts: ListFacts, k: int) -> dict[str, NDArray[np.float64]]:
    """[n] of each metric, NaN where it is not defined."""
    values: dict[str, NDArray[np.float64]] = {}
    if facts.relevant is not None:
        gains = list_metrics(top, facts.relevant, (k,))[f"ndcg@{k}"]
        values["ndcg"] = np.where(np.diff(facts.relevant.indptr) > 0, gains, np.nan)
    if facts.vectors is not None:
        values["diversity"] = intra_list_diversity(top, facts.vectors, k)
    values["novelty"] = novelty(top, facts.popularity, k)
    if facts.categories is not None and facts.history is not None:
        values["miscalibration"] = miscalibration(top, facts.categories, facts.history, k)
    return values


def _paired_rows(
    metric: str,
    k: int,
    segment: str,
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    num_bootstrap: int,
    seed: int,
) -> list[MetricRow]:
    columns = np.stack([old, new, old - new], axis=1)
    low, high = (ends.tolist() for ends in mean_intervals(columns, num_bootstrap, seed))
    mean, num_users = columns.mean(axis=0).tolist(), int(old.size)
    return [
        MetricRow(BEFORE, segment, metric, k, mean[0], low[0], high[0], num_users=num_users),
        MetricRow(AFTER, segment, metric, k, mean[1], low[1], high[1], mean[2], low[2], high[2], num_users),
    ]
