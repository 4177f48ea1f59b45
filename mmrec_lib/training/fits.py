"""The fits of one candidate: the ranker and its baselines on train (fit 1) and on train and valid (fit 2)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmrec_lib.errors import ModelError
from mmrec_lib.features.load import Snapshot
from mmrec_lib.features.scorer import SnapshotScorer
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.heads.heads import Heads
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.models.second_stage.model import SecondStage
from mmrec_lib.models.tuning.baselines import (
    BaselineSettings,
    FittedBaseline,
    choose_baseline,
    fit_baseline,
    load_model,
    possible_baselines,
)
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.choose_heads import choose_heads
from mmrec_lib.models.tuning.choose_scorer import choose_scorer
from mmrec_lib.models.tuning.choose_second_stage import SecondStageDecision, choose_second_stage
from mmrec_lib.models.tuning.study import Study, load_optuna
from mmrec_lib.models.tuning.study_stages import study_stages

RANKER = "ranker"
WITHOUT_SCORER = "without_scorer"
"""The ranker without the scorer that has a weight in it, in metrics; no baseline either."""
FIRST_STAGE = "first_stage"
"""The ranker without its second stage, in metrics of rankers that have one; no baseline: nobody publishes it."""
_INDEX = "fits.json"


@dataclass(frozen=True)
class ChosenSettings:
    """Settings of the ranker and of each baseline, chosen on validation.

    Attributes:
        ranker: Settings of the ranker.
        baselines: Settings of each baseline.
        decision: Decision on the second stage.
        second_stage: The one of fit 1, where it is kept.
        heads: Heads that learned from the lists of fit 1; None where none are wanted.
        scorer: Decision on the scorer; None where none is configured.
        studies: What was tried beyond the search of each setting by itself.
        first_fit: The ranker of fit 1, where heads needed it already; kept until it is asked for once more.
    """

    ranker: RankerSettings
    baselines: Mapping[str, BaselineSettings]
    decision: SecondStageDecision
    second_stage: SecondStage | None
    heads: Heads | None = None
    scorer: ScorerWeight | None = None
    studies: tuple[Study, ...] = ()
    first_fit: list[FittedRanker] = field(default_factory=list)

    def fit(self, snapshot: Snapshot, fit: str) -> FittedRanker:
        """The ranker fitted on the data of a fit."""
        data = snapshot.fit_data(fit)
        if fit == "fit1" and self.first_fit:
            ranker = self.first_fit.pop()
        else:
            ranker = fit_ranker(data, self.ranker, second_stage=self.second_stage if fit == "fit1" else None)
        if self.scorer is not None:
            ranker = replace(ranker, scorer=self.scorer)
        aligner, cold = snapshot.aligner, ranker.cold_items
        if aligner is not None and cold is not None and aligner.block_name in cold.transforms:
            # New items need it; a ranker that does not ask for the joint space needs nothing of it.
            ranker = replace(ranker, aligner=aligner)
        if self.heads is None:
            return ranker
        latest_ts = float(data.interactions.times.data.max(initial=0.0))
        return replace(ranker, heads=self.heads.with_latest(latest_ts))

    def with_heads(self, snapshot: Snapshot, config: TrainingConfig) -> ChosenSettings:
        """The same settings with heads, where they are wanted."""
        if config.heads is None:
            return self
        ranker, outcomes = self.fit(snapshot, "fit1"), snapshot.outcomes.get("valid", {})
        heads = choose_heads(ranker, snapshot.fit_data("fit1"), outcomes, config.heads, config.seed)
        return replace(self, heads=heads, first_fit=[ranker])

    def with_scorer(self, snapshot: Snapshot, scorer: SnapshotScorer | None, seed: int) -> ChosenSettings:
        """The same settings with the weight of a scorer, where there is one."""
        if scorer is None:
            return self
        ranker, train = self.fit(snapshot, "fit1"), snapshot.fit_data("fit1")
        weight = choose_scorer(
            ranker,
            train,
            snapshot.parts["valid"],
            scorer.candidates,
            scorer.untried,
            max_users=scorer.max_users,
            seed=seed,
        )
        return replace(self, scorer=weight, first_fit=[ranker])


def choose_all(snapshot: Snapshot, config: TrainingConfig, scorer: SnapshotScorer | None = None) -> ChosenSettings:
    """Choose settings of the ranker and the baselines, the weight of a scorer, and fit heads.

    Sees train and valid only.

    Raises:
        ModelError: When a study is asked for and Optuna is not installed.
    """
    if config.study is not None:
        load_optuna()  # What is missing is told before anything is fitted.
    train, valid = snapshot.fit_data("fit1"), snapshot.parts["valid"]
    names = possible_baselines(train, config)
    first_stage = choose_settings(train, valid, config)
    baselines: dict[str, BaselineSettings] = {
        name: choose_baseline(name, train, valid, config, first_stage) for name in names
    }
    studies: tuple[Study, ...] = ()
    if config.study is not None:
        first_stage, tried, studies = study_stages(train, valid, config, first_stage, config.study)
        config = config.model_copy(update={"second_stage": tried})
    ranker, decision, second_stage = choose_second_stage(train, valid, config, first_stage)
    chosen = ChosenSettings(ranker, baselines, decision, second_stage, studies=studies)
    return chosen.with_scorer(snapshot, scorer, config.seed).with_heads(snapshot, config)


def evaluated_fits(config: TrainingConfig) -> dict[str, str]:
    """Data of each evaluated fit: fit 2 keeps fit 1's when there is to be no refit on valid."""
    return {"fit1": "fit1", "fit2": "fit2" if config.refit_on_valid else "fit1"}


def published_fit(snapshot: Snapshot, config: TrainingConfig) -> str:
    """The fit that is registered: on all events, but with a given split the test part is never trained on."""
    if not snapshot.cuts.given:
        return "fit3"
    return evaluated_fits(config)["fit2"]


def save_fits(snapshot: Snapshot, chosen: ChosenSettings, config: TrainingConfig, folder: Path) -> None:
    """Fit everything that is to be evaluated and write it as `<folder>/<fit>/<model>/`, with an index."""
    index: dict[str, dict[str, str]] = {}
    fits = evaluated_fits(config)
    for fit in sorted(set(fits.values())):
        data = snapshot.fit_data(fit)
        ranker = chosen.fit(snapshot, fit)
        ranker.save(folder / fit / RANKER)
        index[fit] = {RANKER: "ranker"}
        for name, settings in chosen.baselines.items():
            model = fit_baseline(data, settings, ranker)
            model.save(folder / fit / name)
            index[fit][name] = "ranker" if isinstance(model, FittedRanker) else "baseline"
    document = {"fits": fits, "models": index}
    (folder / _INDEX).write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")


def replace_ranker(snapshot: Snapshot, settings: RankerSettings, source: Path, target: Path) -> None:
    """Write the fits of `source` anew with another ranker; the baselines stay as they are.

    Raises:
        ModelError: When the source holds no fits.
    """
    shutil.copytree(source, target)
    for fit in _read_index(target)["models"]:
        shutil.rmtree(target / fit / RANKER)
        fit_ranker(snapshot.fit_data(fit), settings).save(target / fit / RANKER)


def load_fits(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, FittedRanker | FittedBaseline]]]:
    """Read what `save_fits` wrote: which data each evaluated fit used, and the models by data and name.

    Raises:
        ModelError: When the folder holds no fits.
    """
    document = _read_index(folder)
    models = {
        fit: {name: load_model(folder / fit / name, kind) for name, kind in kinds.items()}
        for fit, kinds in document["models"].items()
    }
    return document["fits"], models


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / _INDEX
    if not path.exists():
        raise ModelError(f"fits {folder}: there is no {_INDEX}. Train again.")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
