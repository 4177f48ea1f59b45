"""The model card of a version: an artifact of its run, and the version's description."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.features.load import FIT_PARTS, Snapshot
from mmrec_lib.models.data import Interactions
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.reporting.model_card import CardFacts, PartFacts, model_card, shortened_card
from mmrec_lib.tracking.names import MAX_DESCRIPTION_CHARS
from mmrec_lib.tracking.registry import RegisteredModel, Registry
from mmrec_lib.training.fallback import BASELINE_TAG
from mmrec_lib.training.register import ENCODERS, PUBLISHED_FIT_TAG

CARD_FOLDER, CARD_FILE = "model_card", "model_card.md"
CARD_TAG = "mmrec.model_card"
DECISION_PARAM = "second_stage.decision"
"""Parameter of a run: the decision on the second stage, a sentence."""


def describe(
    registry: Registry,
    version: RegisteredModel,
    snapshot: Snapshot,
    *,
    ranker: FittedRanker,
    rows: Mapping[tuple[str, str], Sequence[MetricRow]],
    ablation: Sequence[MetricRow],
    k: int,
) -> None:
    """Write the model card of a version into its run and its description.

    Args:
        registry: Where the version is.
        version: The version.
        snapshot: What it was trained on.
        ranker: Its fit 1.
        rows: Its metrics by fit and part.
        ablation: Rows of the ablation; empty where it was not made.
        k: Cut-off that the card speaks of.
    """
    params = registry.params(version)
    prefix = f"{ENCODERS}."
    contents = snapshot.fit_data("fit1").contents
    facts = CardFacts(
        name=version.name,
        version=version.version,
        baseline=version.tags.get(BASELINE_TAG, ""),
        snapshot_id=snapshot.snapshot_id,
        as_of=snapshot.cuts.as_of.isoformat(),
        split=snapshot.cuts.source,
        published=", ".join(FIT_PARTS[version.tags.get(PUBLISHED_FIT_TAG, "fit3")]),
        num_users=len(snapshot.user_ids),
        num_items=len(snapshot.item_ids),
        parts={name: _part(interactions) for name, interactions in snapshot.parts.items()},
        contents={name: float(content.has.mean()) if len(content.has) else 0.0 for name, content in contents.items()},
        user_attributes=ranker.attribute_names,
        encoders={name.removeprefix(prefix): str(value) for name, value in params.items() if name.startswith(prefix)},
        table_versions=registry.table_versions(version),
        sources={name: ranker.settings.fusion[name] for name in ranker.sources},
        second_stage=str(params.get(DECISION_PARAM, "")),
        scorer="" if ranker.scorer is None else str(ranker.scorer),
        metrics=rows.get(("fit2", "test"), ()),
        ablation=ablation,
        k=k,
    )
    card = model_card(facts)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / CARD_FILE
        file.write_text(card, encoding="utf-8")
        registry.log_artifact(version, file, CARD_FOLDER)
    registry.describe(version, shortened_card(card, MAX_DESCRIPTION_CHARS))
    registry.seal_folder(version, CARD_FOLDER, CARD_TAG)


def _part(interactions: Interactions) -> PartFacts:
    """Counts of a part, and the days of its first and last interaction with a time."""
    times = interactions.times.data
    known = times[times > 0]
    days = (
        tuple(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in (known.min(), known.max())) if len(known) else ()
    )
    num_users = int((np.diff(interactions.weights.indptr) > 0).sum())
    return PartFacts(int(interactions.weights.nnz), num_users, days)
