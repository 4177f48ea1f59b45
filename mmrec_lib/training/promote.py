"""The gate between candidate and champion."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pyspark.sql import functions as F

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.rows import METRIC_FIELDS, MetricRow
from mmrec_lib.features.load import Snapshot, current_snapshot, load_snapshot
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.tracking.registry import CHALLENGER, CHAMPION, FINGERPRINT_TAG, RegisteredModel, Registry
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.distributor import trained_by_spark
from mmrec_lib.training.evaluate import READS as EVALUATE_READS
from mmrec_lib.training.evaluate import require_candidate, require_same_data
from mmrec_lib.training.fallback import BASELINE_TAG, is_baseline, published_baseline
from mmrec_lib.training.fits import RANKER, load_fits
from mmrec_lib.training.gate import Decision, GateValue, best_baseline, decide_first, decide_next, gate_values
from mmrec_lib.training.parts import evaluate_part
from mmrec_lib.training.register import FITS_FOLDER

READS = (*EVALUATE_READS, "model_metric", "registry:baseline")
DECISION_TAG = "mmrec.promotion"
_GATE_ONLY = EvaluationConfig().without_groups()


def promote(lakehouse: Lakehouse, registry: Registry, config: PromotionConfig) -> tuple[dict[str, int], str]:
    """Move the alias champion to the candidate unless the gate refuses; the reason becomes a tag of the version.

    Where the candidate is the champion already there is nothing to decide, and nothing is loaded for it.

    Without a ranker as champion, the best baseline is published in the place of a refused one.

    Returns:
        Counts and the decision for job_run.

    Raises:
        ModelError: When a baseline is to be published that was not registered.
    """
    champion, newest = registry.by_alias(CHAMPION), registry.newest()
    if champion is not None and newest is not None and champion.version == newest.version:
        candidate = require_candidate(registry, current_snapshot(lakehouse)[0])
        return {"promoted": 0}, f"version {candidate.version} is the champion already"
    snapshot = load_snapshot(lakehouse)
    candidate = require_candidate(registry, snapshot.snapshot_id)
    require_same_data(candidate, snapshot)
    values = _validation_values(lakehouse, candidate, config)
    lost = champion is not None and not registry.is_intact(champion)
    if champion is not None and lost and is_same_fit(champion, candidate):
        decision = Decision(True, f"promoted: the same fit as champion {champion.version}, whose files are gone")
    elif champion is None or lost or is_baseline(champion):
        decision = decide_first(values, config)
    else:
        with trained_by_spark(lakehouse.spark):
            own, reference = _on_same_part(registry, snapshot, candidate, champion, config)
        decision = decide_next(own, reference, champion.version, config)
    registry.tag(candidate, {DECISION_TAG: decision.reason})
    message = f"version {candidate.version}: {decision.reason}"
    if decision.passed:
        registry.set_alias(CHAMPION, candidate.version)
        registry.remove_alias(CHALLENGER)
    else:
        registry.set_alias(CHALLENGER, candidate.version)
        if champion is None or lost or is_baseline(champion):
            message += _publish_baseline(registry, candidate, values, decision)
    return {"promoted": int(decision.passed)}, message


def is_decided(registry: Registry) -> bool:
    """True when the newest version carries a decision and the champion, where there is one, has all its files."""
    newest, champion = registry.newest(), registry.by_alias(CHAMPION)
    decided = newest is not None and DECISION_TAG in newest.tags
    return decided and (champion is None or registry.is_intact(champion))


def is_same_fit(one: RegisteredModel, other: RegisteredModel) -> bool:
    """True when two versions were fitted on the same data with the same config by the same code."""
    fingerprint = one.tags.get(FINGERPRINT_TAG)
    return fingerprint is not None and fingerprint == other.tags.get(FINGERPRINT_TAG)


def _publish_baseline(
    registry: Registry, candidate: RegisteredModel, values: dict[str, GateValue], decision: Decision
) -> str:
    """Make the best baseline of a refused candidate the champion; returns what to say about it."""
    name = best_baseline(values)
    version = published_baseline(registry, candidate, name) if name is not None else None
    if version is None:
        raise ModelError(
            f"The baseline {name} of version {candidate.version} is to be published, but was never registered. Run "
            "evaluate_ranker with --force."
        )
    told = f"the baseline {version.tags[BASELINE_TAG]} is published in place of version {candidate.version}"
    registry.tag(version, {DECISION_TAG: f"{told}, {decision.reason}"})
    registry.set_alias(CHAMPION, version.version)
    return f"; version {version.version}, {told}"


def _validation_values(
    lakehouse: Lakehouse, candidate: RegisteredModel, config: PromotionConfig
) -> dict[str, GateValue]:
    """Validation metrics of the candidate and its baselines, by model."""
    rows = lakehouse.read("model_metric").where(
        (F.col("model_version") == candidate.version)
        & (F.col("fit") == "fit1")
        & (F.col("part") == "valid")
        & (F.col("segment") == "all")
        & (F.col("metric") == config.metric)
    )
    found = [MetricRow(*(row[name] for name in METRIC_FIELDS)) for row in rows.select(*METRIC_FIELDS).collect()]
    return gate_values(found, config)


def _on_same_part(
    registry: Registry,
    snapshot: Snapshot,
    candidate: RegisteredModel,
    champion: RegisteredModel,
    config: PromotionConfig,
) -> tuple[GateValue | None, GateValue | None]:
    """The candidate and the champion's settings, fitted on one train part and evaluated on one validation part."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        own = load_fits(registry.artifact_folder(candidate, FITS_FOLDER, folder / "candidate"))[1]["fit1"][RANKER]
        model = FittedRanker.load(registry.model_artifact(champion, RANKER, folder / "champion"))
    other = fit_ranker(snapshot.fit_data("fit1"), model.settings)
    rows = evaluate_part(
        snapshot, "fit1", "valid", {RANKER: own, CHAMPION: other}, _GATE_ONLY.model_copy(update={"ks": (config.k,)})
    )
    values = gate_values(rows, config)
    return values.get(RANKER), values.get(CHAMPION)
