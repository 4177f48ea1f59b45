"""Evaluation of the ranker without each of its parts, on the validation part."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.groups import GROUP_METRICS
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.tuning.ablation import ablated_rankers
from mmrec_lib.topk.threads import FEW_ITEMS, single_threaded_blas
from mmrec_lib.training.fits import RANKER
from mmrec_lib.training.parts import evaluate_part

_log = logging.getLogger(__name__)


def ablation_rows(snapshot: Snapshot, ranker: FittedRanker, config: EvaluationConfig) -> list[MetricRow]:
    """Metrics on validation without each source and modality, with the first stage's difference to each.

    Test is not looked at: what is read here may lead to settings.

    Args:
        snapshot: Data.
        ranker: Fit 1.
        config: Cut-offs, bootstrap and up to which size it is done; no rows above.

    Raises:
        ModelError: When the ranker is of another fit.
    """
    data, bounds = snapshot.fit_data("fit1"), config.ablation
    if not np.array_equal(ranker.warm, data.interactions.item_counts() > 0):
        raise ModelError("ablation: the ranker was not fitted on the training part; hand over its fit 1")
    num_items = int(ranker.warm.sum())
    num_users = int((np.diff(data.interactions.weights.indptr) > 0).sum())
    if num_items > bounds.max_items or num_items * num_users > bounds.max_cells:
        return []
    started = time.process_time()
    with single_threaded_blas() if num_items <= FEW_ITEMS else nullcontext():
        without = ablated_rankers(data, snapshot.parts["valid"], ranker)
        if not without:
            return []
        models = {RANKER: replace(ranker, second_stage=None), **without}
        rows = evaluate_part(snapshot, "fit1", "valid", models, config.without_groups())
    _log.info("ablation of %d parts took %.1f processor seconds", len(without), time.process_time() - started)
    return [row for row in rows if row.metric in GROUP_METRICS]


def logged_ablation(rows: Sequence[MetricRow]) -> Iterator[tuple[str, float]]:
    """Names and values for the run: of each ranker without a part its value, and the loss with its interval."""
    for row in rows:
        if row.model == RANKER:
            continue
        name = f"{row.model}.{row.segment}.{row.name}"
        yield name, row.value
        for key, value in (("loss", row.diff), ("loss.ci_low", row.diff_low), ("loss.ci_high", row.diff_high)):
            if value is not None:
                yield f"{name}.{key}", value
