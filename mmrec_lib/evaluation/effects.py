"""Effects of rules and re-ranking: metrics of lists as users get them, as rows of `model_metric`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.lists import catalogue_coverage, gini, intra_list_diversity, miscalibration, novelty
from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.evaluation.significance import mean_intervals

OWN_ORDER, WITH_RULES, RERANKED = "ranker", "with_rules", "reranked"
"""Models of the rows: the ranker's own order, that order under the rules, and the lists as users get them."""
LISTS = "lists"
"""Segment of the rows: the users of `all`, whose lists are looked at in other ways."""
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

    popularity: NDArray[Any]
    vectors: NDArray[np.float32] | None = None
    categories: sparse.csr_matrix | None = None
    history: sparse.csr_matrix | None = None
    relevant: sparse.csr_matrix | None = None


def list_effects(
    lists: Mapping[str, NDArray[np.int32]],
    facts: ListFacts,
    *,
    ks: Sequence[int] = (10, 20),
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[MetricRow]:
    """Metrics of several lists of the same users, as rows of the segment `lists`.

    Rows of all lists but the first have the paired difference to it, first minus other as everywhere in the table. A
    metric by user is averaged over the users for whom it is defined in all lists; nDCG over those with a relevant item.

    Args:
        lists: [n, at least max(ks)] item indices by model, best first, -1 where a list ends early.
        facts: What the metrics need; those that lack something are left out.
        ks: Cut-offs.
        num_bootstrap: Resamples of users.
        seed: Same seed, same intervals.

    Raises:
        ModelError: When the numbers of users differ or a cut-off is longer than the lists.
    """
    if len({len(top) for top in lists.values()}) != 1:
        raise ModelError(f"effects: all lists need the same users, got {[len(top) for top in lists.values()]}")
    length = min(top.shape[1] for top in lists.values())
    if not ks or min(ks) < 1 or max(ks) > length:
        raise ModelError(f"effects: cut-offs must lie between 1 and {length}, got {list(ks)}")
    rows: list[MetricRow] = []
    num_items = len(facts.popularity)
    for k in ks:
        by_model = [_values_by_user(top, facts, k) for top in lists.values()]
        for metric in by_model[0]:
            values_NM = np.stack([values[metric] for values in by_model], axis=1)
            defined = values_NM[~np.isnan(values_NM).any(axis=1)]
            if len(defined):
                draw = zlib.crc32(f"{seed}:{LISTS}:{metric}@{k}".encode())
                rows += _paired_rows(tuple(lists), metric, k, defined, num_bootstrap, draw)
        for model, top in lists.items():
            for metric, value in (
                ("coverage", catalogue_coverage(top, num_items, k)),
                ("gini", gini(top, num_items, k)),
            ):
                rows.append(MetricRow(model, LISTS, metric, k, value, num_users=len(top)))
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
    models: tuple[str, ...], metric: str, k: int, values_NM: NDArray[np.float64], num_bootstrap: int, seed: int
) -> list[MetricRow]:
    differences = values_NM[:, :1] - values_NM[:, 1:]
    columns = np.concatenate([values_NM, differences], axis=1)
    low, high = (ends.tolist() for ends in mean_intervals(columns, num_bootstrap, seed))
    mean, num_users = columns.mean(axis=0).tolist(), len(values_NM)
    rows = []
    for at, model in enumerate(models):
        row = MetricRow(model, LISTS, metric, k, mean[at], low[at], high[at], num_users=num_users)
        if at:
            other = len(models) + at - 1
            row = replace(row, diff=mean[other], diff_low=low[other], diff_high=high[other])
        rows.append(row)
    return rows
