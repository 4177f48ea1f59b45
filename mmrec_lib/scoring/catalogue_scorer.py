"""The scorer of a scoring run: texts of today's catalogue on disk for every worker, which loads the model itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmrec_lib.generation.candidate_texts import ItemTexts, TextScorer
from mmrec_lib.location import absolute
from mmrec_lib.models.data import Floats, Histories
from mmrec_lib.recipes.scorer import load_scorer
from mmrec_lib.recipes.scorer_config import ScorerConfig

_TEXTS, _SETTINGS = "texts.arrow", "settings.json"


@dataclass(frozen=True)
class CatalogueScorer:
    """The scorer over today's catalogue.

    Attributes:
        texts: Texts of the items.
        config: Settings of the scorer.
        revision: Revision of the scorer, so that another one is another catalogue.
    """

    texts: ItemTexts
    config: ScorerConfig
    revision: str

    def values(self, histories: Histories, items: npt.NDArray[np.integer]) -> Floats:
        """[n, C] value of each candidate; see `TextScorer.values`."""
        return self._candidates.values(histories, items)

    @cached_property
    def _candidates(self) -> TextScorer:
        # Loaded when it is first asked for, once a worker process; a task has one core.
        import torch

        torch.set_num_threads(1)
        loaded = load_scorer(self.config)
        return TextScorer(loaded.scorer, self.texts, loaded.num_history)

    def save(self, folder: Path) -> None:
        """Write texts and settings into a folder."""
        assert self.config.model is not None
        folder.mkdir()
        self.texts.save(folder / _TEXTS)
        # Workers have working directories of their own.
        config = self.config.model_copy(update={"model": absolute(self.config.model)})
        told = {"config": config.model_dump(mode="json"), "revision": self.revision}
        (folder / _SETTINGS).write_text(json.dumps(told, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> CatalogueScorer:
        """Read what `save` wrote."""
        told = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        return cls(ItemTexts.load(folder / _TEXTS), ScorerConfig.model_validate(told["config"]), told["revision"])
