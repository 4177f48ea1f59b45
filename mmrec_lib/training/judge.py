"""The candidate and its baselines → metrics: every user with something to find, the whole catalogue."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mmrec_lib.contracts.runs import MODEL_METRIC
from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.evaluate import Scorer, evaluate
from mmrec_lib.evaluation.rows import METRIC_FIELDS, MetricRow
from mmrec_lib.features.load import Snapshot, load_snapshot
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.data import Histories
from mmrec_lib.reporting.plots import plot_metric
from mmrec_lib.tracking.registry import RegisteredModel, Registry
from mmrec_lib.training.fits import RANKER, load_fits
from mmrec_lib.training.train import FITS_FOLDER, SNAPSHOT_TAG
from mmrec_lib.training.train import READS as TRAIN_READS

READS = (*TRAIN_READS, "registry:candidate")
PLOTS_FOLDER = "plots"
PLOTS_TAG = "mmrec.plots"


def judge(lakehouse: Lakehouse, registry: Registry, config: EvaluationConfig) -> tuple[dict[str, int], str]:
    """Write model_metric for the newest version, and log the figures to its run.

    Returns:
        Counts and a message for job_run.

    Raises:
        ModelError: When there is no candidate, or it was not trained on the current snapshot.
    """
    snapshot = load_snapshot(lakehouse)
    candidate = require_candidate(registry, snapshot)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fits, models = load_fits(registry.artifact_folder(candidate, FITS_FOLDER, folder))
        judged = {("fit1", "valid"): judge_part(snapshot, "fit1", "valid", models["fit1"], config)}
        for fit, data in fits.items():
            judged[fit, "test"] = judge_part(snapshot, data, "test", models[data], config)
        rows = [
            (candidate.version, fit, part, *(asdict(row)[name] for name in METRIC_FIELDS))
            for (fit, part), found in judged.items()
            for row in found
        ]
        frame = lakehouse.spark.createDataFrame(rows, MODEL_METRIC.input_schema)
        lakehouse.replace_slice("model_metric", frame, {"model_version": candidate.version})
        for (fit, part), found in judged.items():
            own = [row for row in found if row.model == RANKER]
            registry.log_metrics(candidate, {f"{fit}.{part}.{row.segment}.{row.name}": row.value for row in own})
            if found:
                picture = plot_metric(
                    found, f"{fit} on {part}: nDCG@10", "ndcg", min(config.ks), folder / f"{fit}-{part}.png"
                )
                registry.log_artifact(candidate, picture, PLOTS_FOLDER)
        registry.seal_folder(candidate, PLOTS_FOLDER, PLOTS_TAG)
    headline = _value(judged.get(("fit2", "test"), []), min(config.ks))
    return {"metrics": len(rows)}, f"version {candidate.version}: nDCG@{min(config.ks)} on test {headline}"


def is_judged(registry: Registry) -> bool:
    """Whether the newest version carries its metrics and has its plots."""
    newest = registry.newest()
    return newest is not None and registry.is_sealed(newest, PLOTS_FOLDER, PLOTS_TAG)


def require_candidate(registry: Registry, snapshot: Snapshot) -> RegisteredModel:
    """The newest version, which must have been trained on this snapshot and have all its files.

    Raises:
        ModelError: When it was not, files are gone, or there is none.
    """
    candidate = registry.newest()
    if candidate is None:
        raise ModelError(f"There is no version of {registry.model_name} yet. Run train_ranker first.")
    trained_on = candidate.tags.get(SNAPSHOT_TAG)
    if trained_on != snapshot.snapshot_id:
        raise ModelError(
            f"{candidate.name} version {candidate.version} was trained on snapshot {trained_on}, but the current one "
            f"is {snapshot.snapshot_id}. Run train_ranker first."
        )
    if not registry.is_intact(candidate):
        raise ModelError(
            f"{candidate.name} version {candidate.version}: files of it are gone. Run train_ranker first: it makes "
            "them again as a new version."
        )
    return candidate


def judge_part(
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
        models,
        data.histories(),
        seen,
        snapshot.parts[part].weights,
        warm_users=np.diff(seen.indptr) > 0,
        cold_items=data.interactions.item_counts() == 0,
        ks=config.ks,
        num_bootstrap=config.num_bootstrap,
        block=config.block_users(len(snapshot.item_ids)),
    )


def _value(rows: list[MetricRow], k: int) -> str:
    found = [r for r in rows if (r.model, r.segment, r.metric, r.k) == (RANKER, "all", "ndcg", k)]
    return f"{found[0].value:.4f}" if found else "not measured (nobody has anything to find)"
