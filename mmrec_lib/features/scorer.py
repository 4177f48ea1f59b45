"""The scorer of a snapshot: the texts of its items, the model that judges them, and what that may have learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory, require_safe
from mmrec_lib.errors import LeakageError, ModelError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.item_texts import load_item_texts
from mmrec_lib.features.load import Snapshot, current_snapshot
from mmrec_lib.generation.candidate_texts import ItemTexts, TextScorer
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.location import absolute
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.recipes.scorer import LoadedScorer, load_scorer
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.section import Section


@dataclass(frozen=True)
class ScorerSettings:
    """Settings of the scorer and of the place where models lie."""

    scorer: ScorerConfig
    models: ModelsConfig

    def revision(self) -> str | None:
        """Revision of the scorer: of its directory, and of the settings that its values follow from; None without one.

        Raises:
            EncoderError: When its directory is missing, holds pickles only or brings code of its own.
        """
        if self.scorer.model is None:
            return None
        directory = local_directory(self.models.root, self.scorer.model)
        require_safe(directory)
        told = [directory_revision(directory), self.scorer.fields, self.scorer.num_history, self.scorer.max_tokens]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def versions(self) -> dict[str, str]:
        """Revision of the scorer, for a job's external versions; nothing where there is none."""
        revision = self.revision()
        return {} if revision is None else {"scorer": revision}

    def load(self) -> LoadedScorer:
        """The scorer on this machine."""
        assert self.scorer.model is not None
        directory = local_directory(absolute(self.models.root), self.scorer.model)
        return load_scorer(directory, self.scorer, device=on_this_machine(self.models).device)


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


def snapshot_scorer(lakehouse: Lakehouse, settings: ScorerSettings | None, snapshot: Snapshot) -> SnapshotScorer | None:
    """The scorer over the items of a snapshot; None, and nothing is read, where there is none.

    Raises:
        EncoderError: When there is no such model, or it could run code.
        RecipeError: When the recipe is damaged, or judges no pairs by levels.
        NoDataError: When the snapshot has no texts.
        LeakageError: When a recipe may have learned from what the ranker is judged by.
    """
    if settings is None or settings.scorer.model is None:
        return None
    loaded, revision = settings.load(), settings.revision()
    assert revision is not None
    if loaded.is_recipe:
        require_train_part(settings.scorer.model, loaded.train_part, snapshot.snapshot_id, snapshot.cuts)
    texts = load_item_texts(lakehouse, snapshot.snapshot_id, snapshot.item_ids)
    return SnapshotScorer(
        ScorerWeight(settings.scorer.model, revision, settings.scorer.num_candidates),
        texts,
        TextScorer(loaded.scorer, texts, loaded.num_history),
        settings.scorer.max_users,
    )


class WithScorer(Section):
    """Sections of a job that a scorer takes part in."""

    scorer: ScorerConfig
    models: ModelsConfig

    @property
    def of_scorer(self) -> ScorerSettings:
        """The scorer and the place where models lie."""
        return ScorerSettings(self.scorer, self.models)


def require_same_scorer(settings: ScorerSettings | None, weight: ScorerWeight) -> None:
    """Check that a scorer is the one that a ranker has a weight for.

    Raises:
        ModelError: When it is not: lists would be in another order than the one that was judged.
    """
    name = None if settings is None else settings.scorer.model
    own = None if settings is None else settings.revision()
    if (name, own) != (weight.name, weight.revision):
        raise ModelError(
            f"scorer: the ranker was trained with {weight.name} of revision {weight.revision}, got {name or 'none'}"
            f"{f' of revision {own}' if own else ''} (scorer.model). Configure the same, or train, evaluate and "
            "promote again."
        )


def snapshot_part(lakehouse: Lakehouse) -> dict[str, str]:
    """What the current snapshot takes for train: its id, split, and where train ends; empty where time does not say."""
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
