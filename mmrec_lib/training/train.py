"""A snapshot → a candidate: settings chosen on validation, three fits, one registered version."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

import mmrec_lib.generation
import mmrec_lib.models
import mmrec_lib.recipes
from mmrec_lib.features.load import SNAPSHOT_TABLES, Snapshot, load_snapshot
from mmrec_lib.features.scorer import SnapshotScorer, snapshot_scorer
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.sources.registry import possible_sources
from mmrec_lib.models.tuning.choose_heads import told as told_heads
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.source_version import source_version
from mmrec_lib.topk.threads import FEW_ITEMS, single_threaded_blas
from mmrec_lib.tracking.registry import CANDIDATE, FINGERPRINT_TAG, Registry
from mmrec_lib.training.distributor import trained_by_spark
from mmrec_lib.training.fits import choose_all, published_fit, save_fits
from mmrec_lib.training.register import PUBLISHED_FIT_TAG, register_fit

READS = (*SNAPSHOT_TABLES, "alignment_model", "encoder_release")
VERSION_COUNT = "version"
_log = logging.getLogger(__name__)


def train(
    lakehouse: Lakehouse, registry: Registry, config: TrainingConfig, scorer_config: ScorerConfig | None = None
) -> tuple[dict[str, int], str]:
    """Fit and register a candidate; one that was registered for the same fit, and is whole, is not made again.

    Args:
        lakehouse: The store.
        registry: Where to.
        config: Settings of training.
        scorer_config: A scorer that gets the weight that validation says; None has none.

    Returns:
        Counts and a message for job_run.
    """
    snapshot = load_snapshot(lakehouse)
    scorer = snapshot_scorer(lakehouse, scorer_config, snapshot)
    fingerprint = fit_fingerprint(snapshot, config, scorer)
    counts = {name: int(part.weights.nnz) for name, part in snapshot.parts.items()}
    counts |= {"items": len(snapshot.item_ids), "users": len(snapshot.user_ids), "gone": snapshot.num_gone}
    gone = f"; {snapshot.num_gone} pairs of users or items deleted since do not count" if snapshot.num_gone else ""
    bounded = bounds_note(snapshot, config)
    if bounded:
        _log.info("training: %s", bounded.removeprefix("; "))
    known = registry.by_fingerprint(fingerprint)
    if known is not None:
        registry.set_alias(CANDIDATE, known.version)
        counts[VERSION_COUNT] = int(known.version)
        return counts, f"version {known.version} was registered for this fit before{gone}"
    blas = single_threaded_blas() if len(snapshot.item_ids) <= FEW_ITEMS else nullcontext()
    with blas, trained_by_spark(lakehouse.spark):
        chosen = choose_all(snapshot, config, scorer)
        fit = published_fit(snapshot, config)
        published = chosen.fit(snapshot, fit)
        model = register_fit(
            lakehouse,
            registry,
            snapshot,
            published=published,
            save_fits=partial(save_fits, snapshot, chosen, config),
            params={
                "training": config.model_dump(mode="json"),
                "ranker": chosen.ranker.model_dump(mode="json"),
                "baseline": {name: s.model_dump(mode="json") for name, s in chosen.baselines.items()},
                "second_stage": {**asdict(chosen.decision), "decision": str(chosen.decision)},
                **({} if chosen.scorer is None else {"scorer": chosen.scorer.meta()}),
                **({"study": {study.stage: str(study) for study in chosen.studies}} if chosen.studies else {}),
            },
            tags={FINGERPRINT_TAG: fingerprint, PUBLISHED_FIT_TAG: fit},
            studies=chosen.studies,
        )
    registry.set_alias(CANDIDATE, model.version)
    counts[VERSION_COUNT] = int(model.version)
    told = f"version {model.version}, {chosen.ranker.dim} dimensions, published {fit}; {chosen.decision}"
    if chosen.decision.is_kept and published.second_stage is None:
        told += ", but nobody turned to a candidate in the windows of the published fit, which has none"
    told += "".join(f"; {study}" for study in chosen.studies)
    if chosen.scorer is not None:
        told += f"; {chosen.scorer}"
    return counts, f"{told}; {told_heads(chosen.heads)}{gone}{bounded}"


def bounds_note(snapshot: Snapshot, config: TrainingConfig) -> str:
    """The bounds that the users and items of train are above, for a person; empty where all is read."""
    train = snapshot.parts["train"]
    num_users = int((np.diff(train.weights.indptr) > 0).sum())
    num_items = int((train.item_counts() > 0).sum())
    note = ""
    if told := _exceeded(config, num_users, "max_fit_users", "max_search_fit_users"):
        note += f"; of {num_users:,} users of train a sample is read: {told}"
    if num_items > config.max_dense_items:
        scalable = ", ".join(possible_sources(config.sources, num_items, config.max_dense_items))
        limit = _exceeded(config, num_items, "max_dense_items")
        note += f"; {num_items:,} items are too many for item-by-item matrices: {limit}, so the sources are {scalable}"
    elif told := _exceeded(config, num_items, "max_search_items"):
        note += f"; of {num_items:,} items the most frequent choose settings of item-by-item matrices: {told}"
    return note


def _exceeded(config: TrainingConfig, number: int, *bounds: str) -> str:
    """The bounds below a number, by their keys."""
    limits = {name: getattr(config, name) for name in bounds}
    return ", ".join(f"training.{name} = {limit:,}" for name, limit in limits.items() if number > limit)


def is_registered(registry: Registry, counts: Mapping[str, int] | None) -> bool:
    """True when the version that the last good run counted is registered and has all its files."""
    return registry.has_intact((counts or {}).get(VERSION_COUNT))


def fit_fingerprint(snapshot: Snapshot, config: TrainingConfig, scorer: SnapshotScorer | None = None) -> str:
    """Identity of a fit: its data as they are now, its config and the code of the models; see `source_version`.

    With a scorer also what that is and what it reads.
    """
    digest = hashlib.sha256(f"{snapshot.snapshot_id}\0{snapshot.data_hash}".encode())
    digest.update(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode())
    sources = [mmrec_lib.models.__file__]
    if scorer is not None:
        told = [scorer.untried.meta(), scorer.max_users, scorer.candidates.num_history, scorer.texts.digest()]
        digest.update(json.dumps(told, sort_keys=True).encode())
        sources += [mmrec_lib.generation.__file__, mmrec_lib.recipes.__file__]
    for source in sources:
        assert source is not None
        digest.update(source_version(Path(source).parent.rglob("*.py")).encode())
    return digest.hexdigest()
