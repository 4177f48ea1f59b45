"""The scorer of a snapshot: the texts of its items, the model that judges them, and what that may have learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mmrec_lib.errors import LeakageError, ModelError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.item_texts import load_item_texts
from mmrec_lib.features.load import Snapshot, current_snapshot
from mmrec_lib.generation.candidate_texts import ItemTexts, TextScorer
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.recipes.scorer import load_scorer, scorer_revision
from mmrec_lib.recipes.scorer_config import ScorerConfig


@dataclass(frozen=True)
class SnapshotScorer:
    """The scorer over the items of a snapshot.

    Attributes:
        untried: Its name, revision and number of candidates, without a weight.
        texts: Texts of the items.
        candidates: Judges candidates.
        max_users: Users that its weight is chosen on, at most.
    """

    untried: ScorerWeight
    texts: ItemTexts
    candidates: TextScorer
    max_users: int


def snapshot_scorer(lakehouse: Lakehouse, config: ScorerConfig | None, snapshot: Snapshot) -> SnapshotScorer | None:
    """The scorer over the items of a snapshot; None, and nothing is read, where there is none.

    Raises:
        EncoderError: When there is no such model, or it could run code.
        RecipeError: When the recipe is damaged, or judges no pairs by levels.
        NoDataError: When the snapshot has no texts.
        LeakageError: When a recipe may have learned from what the ranker is judged by.
    """
    revision = None if config is None else scorer_revision(config)
    if config is None or revision is None:
        return None
    loaded = load_scorer(config)
    if loaded.is_recipe:
        require_train_part(config.name, loaded.train_part, snapshot.snapshot_id, snapshot.cuts)
    texts = load_item_texts(lakehouse, snapshot.snapshot_id, snapshot.item_ids)
    return SnapshotScorer(
        ScorerWeight(config.name, revision, config.num_candidates),
        texts,
        TextScorer(loaded.scorer, texts, loaded.num_history),
        config.max_users,
    )


def scorer_versions(config: ScorerConfig) -> dict[str, str]:
    """Revision of the scorer, for a job's external versions; nothing where there is none.

    Raises:
        EncoderError: When its directory is missing, holds pickles only or brings code of its own.
    """
    revision = scorer_revision(config)
    return {} if revision is None else {"scorer": revision}


def require_same_scorer(config: ScorerConfig | None, weight: ScorerWeight) -> None:
    """Check that a scorer is the one that a ranker has a weight for.

    Raises:
        ModelError: When it is not: lists would be in another order than the one that was judged.
    """
    name = "" if config is None else config.name
    own = None if config is None else scorer_revision(config)
    if (name, own) != (weight.name, weight.revision):
        raise ModelError(
            f"scorer: the ranker was trained with {weight.name} of revision {weight.revision}, got {name or 'none'}"
            f"{f' of revision {own}' if own else ''} (scorer.model). Configure the same, or train, evaluate and "
            "promote again."
        )


def snapshot_part(lakehouse: Lakehouse) -> dict[str, str]:
    """The part that the current snapshot takes for train: its id, split, and where it ends (empty where unknown)."""
    snapshot_id, cuts = current_snapshot(lakehouse)
    ends = "" if cuts.valid_from is None else cuts.valid_from.isoformat()
    return {"snapshot_id": snapshot_id, "split": cuts.source, "valid_from": ends}


def require_train_part(name: str, learned: Mapping[str, Any] | None, snapshot_id: str, cuts: Cuts) -> None:
    """Check that a recipe learned from the train part of this snapshot, or of an earlier one that ends before it.

    Args:
        name: Directory of the recipe.
        learned: See `snapshot_part`; None where the recipe was not held to a part.
        snapshot_id: The snapshot.
        cuts: Where its parts end.

    Raises:
        LeakageError: When it may know what the valid and test parts ask about.
    """
    again = "Run train_recipe with recipe.train_part_only=true on the current snapshot."
    if learned is None:
        raise LeakageError(
            f"scorer: {name} must have learned from the train part alone, but its labels may be of pairs that the "
            f"ranker is judged by. {again}"
        )
    if learned["snapshot_id"] == snapshot_id:
        return
    is_earlier = (
        learned["split"] == cuts.source
        and bool(learned["valid_from"])
        and cuts.valid_from is not None
        and datetime.fromisoformat(learned["valid_from"]) <= cuts.valid_from
    )
    if not is_earlier:
        raise LeakageError(
            f"scorer: {name} learned from the train part of snapshot {learned['snapshot_id']} (split "
            f"{learned['split']}), which may hold pairs that snapshot {snapshot_id} (split {cuts.source}) is judged "
            f"by. {again}"
        )
