"""The gate between candidate and champion."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import functions as F

from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.features.load import Snapshot, load_snapshot
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.ranker import FittedRanker, fit_ranker
from mmrec_lib.tracking.registry import CHALLENGER, CHAMPION, FINGERPRINT_TAG, RegisteredModel, Registry
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.fits import RANKER
from mmrec_lib.training.judge import READS as JUDGE_READS
from mmrec_lib.training.judge import judge_part, require_candidate

READS = (*JUDGE_READS, "model_metric")
DECISION_TAG = "mmrec.promotion"


def promote(lakehouse: Lakehouse, registry: Registry, config: PromotionConfig) -> tuple[dict[str, int], str]:
    """Move the alias champion to the newest version unless the gate refuses; the reason becomes a tag of the version.

    Returns:
        Counts and the decision for job_run.
    """
    snapshot = load_snapshot(lakehouse)
    candidate = require_candidate(registry, snapshot)
    champion = registry.by_alias(CHAMPION)
    if champion is not None and champion.version == candidate.version:
        return {"promoted": 0}, f"version {candidate.version} is the champion already"
    values = _validation_values(lakehouse, candidate, config)
    lost = champion is not None and not registry.is_intact(champion)
    if champion is not None and lost and is_same_fit(champion, candidate):
        passed, reason = True, f"promoted: the same fit as champion {champion.version}, whose files are gone"
    elif champion is None or lost:
        passed, reason = decide_first(values, config)
    else:
        settings = _settings_of(registry, champion)
        reference = _fitted_on_same_part(snapshot, settings, _settings_of(registry, candidate), values, config)
        passed, reason = decide_next(values.get(RANKER), reference, champion.version, config)
    if passed:
        registry.set_alias(CHAMPION, candidate.version)
        registry.remove_alias(CHALLENGER)
    else:
        registry.set_alias(CHALLENGER, candidate.version)
    registry.tag(candidate, {DECISION_TAG: reason})
    return {"promoted": int(passed)}, f"version {candidate.version}: {reason}"


def is_decided(registry: Registry) -> bool:
    """Whether the newest version carries a decision and the champion, where there is one, has all its files."""
    newest, champion = registry.newest(), registry.by_alias(CHAMPION)
    decided = newest is not None and DECISION_TAG in newest.tags
    return decided and (champion is None or registry.is_intact(champion))


def is_same_fit(one: RegisteredModel, other: RegisteredModel) -> bool:
    """Whether two versions were fitted on the same data with the same config by the same code."""
    fingerprint = one.tags.get(FINGERPRINT_TAG)
    return fingerprint is not None and fingerprint == other.tags.get(FINGERPRINT_TAG)


def decide_first(values: Mapping[str, float], config: PromotionConfig) -> tuple[bool, str]:
    """Whether a first candidate becomes champion: it must beat the named baselines on validation.

    Args:
        values: Validation metric by model, `ranker` among them; empty without a validation part.
        config: Which baselines.
    """
    metric = f"{config.metric}@{config.k}"
    if RANKER not in values:
        return True, "promoted: the first version, and there is no validation part to judge it on"
    own = values[RANKER]
    unbeaten = [f"{name} ({values[name]:.4f})" for name in config.first_must_beat if values.get(name, -1.0) >= own]
    if unbeaten:
        return (
            False,
            f"refused: the first version must beat the baselines, but {metric} {own:.4f} does not beat "
            + ", ".join(unbeaten),
        )
    return True, f"promoted: the first version, validation {metric} {own:.4f} beats all baselines"


def decide_next(own: float | None, reference: float | None, champion: str, config: PromotionConfig) -> tuple[bool, str]:
    """Whether a candidate replaces the champion: not when it is worse by more than the margin.

    Args:
        own: The candidate's validation metric; None without a validation part.
        reference: That of the champion's settings, fitted on the same part.
        champion: Version of the champion.
        config: Metric and margin.
    """
    metric = f"{config.metric}@{config.k}"
    if own is None or reference is None:
        return True, "promoted: there is no validation part to compare on"
    told = (
        f"validation {metric} {own:.4f} against {reference:.4f} of champion {champion}'s settings, "
        f"margin {config.margin}"
    )
    if own < reference - config.margin:
        return False, f"refused: {told}"
    return True, f"promoted: {told}"


def _validation_values(lakehouse: Lakehouse, candidate: RegisteredModel, config: PromotionConfig) -> dict[str, float]:
    """Validation metric of the candidate and its baselines, by model."""
    rows = lakehouse.read("model_metric").where(
        (F.col("model_version") == candidate.version)
        & (F.col("fit") == "fit1")
        & (F.col("part") == "valid")
        & (F.col("segment") == "all")
        & (F.col("metric") == config.metric)
        & (F.col("k") == config.k)
    )
    return {row["model"]: float(row["value"]) for row in rows.select("model", "value").collect()}


def _settings_of(registry: Registry, model: RegisteredModel) -> RankerSettings:
    with tempfile.TemporaryDirectory() as scratch:
        return FittedRanker.load(registry.model_artifact(model, RANKER, Path(scratch))).settings


def _fitted_on_same_part(
    snapshot: Snapshot,
    settings: RankerSettings,
    candidate_settings: RankerSettings,
    values: Mapping[str, float],
    config: PromotionConfig,
) -> float | None:
    """The champion's settings fitted on the candidate's train part and judged on its validation part."""
    if settings == candidate_settings:
        return values.get(RANKER)
    ranker = fit_ranker(snapshot.fit_data("fit1"), settings)
    rows = judge_part(snapshot, "fit1", "valid", {RANKER: ranker}, EvaluationConfig(ks=(config.k,)))
    found = [row.value for row in rows if row.segment == "all" and row.metric == config.metric]
    return found[0] if found else None
