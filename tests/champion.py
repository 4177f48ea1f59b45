"""A registry that has one model, a champion in a folder, for tests of what needs no MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.tracking.registry import SNAPSHOT_TAG, RegisteredModel, Registry

MODEL = "ranker"


class Champion(Registry):
    """Every alias points at the one model, which is said to be trained on a snapshot."""

    model_name = MODEL

    def __init__(self, folder: Path, snapshot_id: str = "s1") -> None:
        self._folder = folder
        self._snapshot_id = snapshot_id

    @classmethod
    def of(cls, ranker: FittedRanker, folder: Path) -> Champion:
        ranker.save(folder)
        return cls(folder)

    def by_alias(self, alias: str) -> RegisteredModel:
        return RegisteredModel(MODEL, "1", "run", {SNAPSHOT_TAG: self._snapshot_id})

    def model_artifact(self, model: RegisteredModel, name: str, target: Path) -> Path:
        return Path(shutil.copytree(self._folder, target / name))
