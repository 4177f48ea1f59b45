"""All that is fitted and compared, by name: the ranker, baselines, and variants of the ranker.

A new variant of fitting is a function from a split and the ranker's chosen settings to `Fitted`, and a line in
`contenders`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from mmrec_lib.models.alignment.config import AlignmentConfig, Method
from mmrec_lib.models.alignment.fit import align
from mmrec_lib.models.config import BASELINE_NAMES, BaselineName, RankerSettings, TrainingConfig
from mmrec_lib.models.data import Content, FitData
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.second_stage_settings import FusionForm, FusionLevel, Loss, SecondStageSettings
from mmrec_lib.models.sources.registry import searched_names
from mmrec_lib.models.study_settings import StudySettings
from mmrec_lib.models.tuning.baselines import choose_baseline, fit_baseline
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.choose_second_stage import choose_second_stage
from mmrec_lib.models.tuning.judged_parts import with_windows
from mmrec_lib.models.tuning.study_stages import study_stages
from tests.benchmarks.baselines.reference import Reference, Scores
from tests.benchmarks.baselines.registry import REFERENCES
from tests.benchmarks.quality.lambdamart import NUM_TREES, PARAMETERS, fit_with_trees
from tests.benchmarks.quality.robustness import (
    least_known,
    share_with,
    with_noise,
    with_push,
    with_vector_noise,
    with_wrong_images,
)
from tests.benchmarks.quality.splits import Judge, Split
from tests.benchmarks.quality.summary import NO_CONTENT

Group = Literal["ranker", "baseline", "ablation", "alignment", "missing", "robustness", "study"]
GROUPS: tuple[Group, ...] = get_args(Group)
MISSING_SHARES = (0.3, 0.5)
MISSING_MODALITIES = ("text", "image")
# Variants of the second stage: what differs from the settings, whose defaults are among the forms.
SECOND_STAGES: dict[str, Mapping[str, object]] = {
    **{form: {"form": form} for form in get_args(FusionForm)},
    **{f"level_{level}": {"level": level} for level in get_args(FusionLevel)[1:]},
    **{f"loss_{loss}": {"loss": loss} for loss in get_args(Loss)[1:]},
    "hard_negatives": {"hard_negatives": 0.5},
    "no_false_negatives": {"false_negative_cosine": 0.9},
    "content_noise": {"content_noise": 0.3},
    "adversarial": {"adversarial": 0.3},
}


@dataclass(frozen=True)
class Fitted:
    """A contender after its fits on one split.

    Attributes:
        settings: Settings as chosen on validation.
        num_tried: Settings that were tried; None where the ranker's own search chose.
        scores: Scores of users by the name of the fit.
        figures: What else there is to tell, by name.
    """

    settings: Mapping[str, object]
    num_tried: int | None
    scores: Mapping[str, Scores]
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """One row of the results.

    Attributes:
        group: Table that it belongs to.
        fit: Chooses settings and fits, from the split and the settings of the ranker.
        is_random: Whether another seed gives another model on the same split.
        reason_against: The reason why it cannot be fitted on some data, or None.
        inputs: What its result depends on besides data and split, as far as that may differ between two runs.
    """

    group: Group
    fit: Callable[[Split, RankerSettings], Fitted]
    is_random: bool = True
    reason_against: Callable[[FitData], str | None] = lambda data: None
    inputs: Mapping[str, object] = field(default_factory=dict)


def contenders(names: tuple[str, ...], config: TrainingConfig, num_settings: int) -> dict[str, Contender]:
    """Contenders by name, in the order in which they are fitted.

    Args:
        names: Names of the content blocks of the data.
        config: Bounds of the ranker's search.
        num_settings: Settings that each reference model may try.
    """
    modalities = sorted({name.split(":")[0] for name in names})
    found = {"ranker": Contender("ranker", _ranker)}
    found |= {
        name: Contender("baseline", partial(_product_baseline, name, config), name == NO_CONTENT)
        for name in BASELINE_NAMES
    }
    for name, reference in REFERENCES.items():
        found[name] = Contender(
            "baseline",
            partial(_reference, reference, num_settings),
            reference.is_random,
            reference.reason_against,
            {"num_settings": num_settings, "grids": {key: list(values) for key, values in reference.grids.items()}},
        )
    for source in searched_names():
        others = tuple(name for name in searched_names() if name != source)
        found[f"without_source_{source}"] = _ablation(config, {"sources": others})
    for modality in modalities:
        left_out = tuple(name for name in names if name.split(":")[0] == modality)
        found[f"without_modality_{modality}"] = _ablation(config, {"exclude_content": left_out})
    found["without_groups"] = _ablation(config, {"max_groups": 0})
    found["without_popularity"] = Contender("ablation", _without_popularity)
    found["equal_weights"] = Contender("ablation", _equal_weights)
    found["without_second_stage"] = Contender("ablation", _without_second_stage)
    for name, changes in SECOND_STAGES.items():
        found[f"second_stage_{name}"] = Contender("ablation", partial(_second_stage, changes, config))
    found["studied"] = Contender("study", partial(_studied, config))
    for method in get_args(Method):
        found[f"aligned_{method}"] = Contender("alignment", partial(_aligned, method, config))
    found["second_stage_lambdamart"] = Contender("ablation", partial(_lambdamart, config))
    if set(modalities) & set(MISSING_MODALITIES):
        found |= {
            f"missing_{round(100 * share)}": Contender("missing", partial(_missing, config, share))
            for share in MISSING_SHARES
        }
    for name, disturb in DISTURBED.items():
        found[name] = Contender("robustness", partial(_disturbed, disturb))
    found["push_5"] = Contender("robustness", partial(_pushed, 0.05))
    return found


Disturb = Callable[[FitData, np.random.Generator], FitData]
DISTURBED: dict[str, Disturb] = {
    "noise_10": lambda data, rng: with_noise(data, 0.1, rng),
    "noise_30": lambda data, rng: with_noise(data, 0.3, rng),
    "vector_noise_50": lambda data, rng: with_vector_noise(data, 0.5, rng),
    "wrong_images_30": lambda data, rng: with_wrong_images(data, 0.3, rng),
}


def _ablation(config: TrainingConfig, changes: Mapping[str, object]) -> Contender:
    return Contender("ablation", partial(_chosen_again, config.model_copy(update=dict(changes))))


def choose_ranker(split: Split, config: TrainingConfig) -> RankerSettings:
    """The ranker's settings on a split, with a second stage where that is kept."""
    config = config.model_copy(update={"seed": split.seed})
    first_stage = choose_settings(split.train, split.valid, config)
    settings, decision, _ = choose_second_stage(split.train, split.valid, config, first_stage)
    print(f"{split.protocol} seed {split.seed}: {decision}", flush=True)
    return settings


def _ranker(split: Split, settings: RankerSettings) -> Fitted:
    return _fitted(split, settings)


def _fitted(split: Split, settings: RankerSettings) -> Fitted:
    models = {name: fit_ranker(data, settings) for name, data in split.fits.items()}
    scores = {name: _of_histories(split.fits[name], model.score) for name, model in models.items()}
    return Fitted(settings.model_dump(mode="json"), None, scores)


def _of_histories(data: FitData, score: Callable[..., np.ndarray]) -> Scores:
    return lambda users: score(data.histories().rows(users))


def _chosen_again(config: TrainingConfig, split: Split, ranker: RankerSettings) -> Fitted:
    """The ranker with something left out, its weights chosen anew; what does not change is not searched again.

    It has a second stage where the ranker has one.
    """
    config = config.model_copy(update={"seed": split.seed})
    settings = choose_settings(split.train, split.valid, config, ranker)
    return _fitted(split, settings.model_copy(update={"second_stage": ranker.second_stage}))


def _without_second_stage(split: Split, ranker: RankerSettings) -> Fitted:
    """The order of the dot product."""
    return _fitted(split, ranker.model_copy(update={"second_stage": None}))


def _second_stage(
    changes: Mapping[str, object], config: TrainingConfig, split: Split, ranker: RankerSettings
) -> Fitted:
    """A second stage with these settings, whether it would be kept or not."""
    return _fitted(split, _with_second_stage(changes, config, split, ranker))


def _studied(config: TrainingConfig, split: Split, ranker: RankerSettings) -> Fitted:
    """All settings tried together by studies; figures tell how often, and the gain where they were judged."""
    config = config.model_copy(update={"seed": split.seed})
    chosen = ranker.model_copy(update={"second_stage": None})
    first, second, studies = study_stages(split.train, split.valid, config, chosen, StudySettings(max_minutes=60.0))
    asked = config.model_copy(update={"second_stage": second})
    settings, decision, _ = choose_second_stage(split.train, split.valid, asked, first)
    print("; ".join([*map(str, studies), str(decision)]), flush=True)
    figures = {f"{study.stage}: trials": float(len(study.trials)) for study in studies}
    figures |= {f"{study.stage}: gain of the best": study.gain for study in studies}
    figures |= {f"{study.stage}: taken": float(study.is_taken) for study in studies}
    return replace(_fitted(split, settings), figures=figures)


def _lambdamart(config: TrainingConfig, split: Split, ranker: RankerSettings) -> Fitted:
    """Trees over the same candidates."""
    settings = _with_second_stage({}, config, split, ranker)
    models = {name: fit_with_trees(data, settings) for name, data in split.fits.items()}
    scores = {name: _of_histories(split.fits[name], model.score) for name, model in models.items()}
    return Fitted({**PARAMETERS, "num_trees": NUM_TREES}, 1, scores)


def _with_second_stage(
    changes: Mapping[str, object], config: TrainingConfig, split: Split, ranker: RankerSettings
) -> RankerSettings:
    chosen = ranker.second_stage or with_windows(config.second_stage or SecondStageSettings(), split.train, split.valid)
    return ranker.model_copy(update={"second_stage": chosen.model_copy(update=dict(changes))})


def _equal_weights(split: Split, ranker: RankerSettings) -> Fitted:
    """All sources of the search with the same weight."""
    return _fitted(split, ranker.model_copy(update={"fusion": dict.fromkeys(searched_names(), 1.0)}))


def _without_popularity(split: Split, ranker: RankerSettings) -> Fitted:
    """Nothing of popularity for users with history; those without keep it, as they have nothing else."""
    popularity = ranker.popularity.model_copy(update={"warm_weight": 0.0, "warm_group_weight": 0.0})
    return _fitted(split, ranker.model_copy(update={"popularity": popularity}))


def _aligned(method: Method, config: TrainingConfig, split: Split, ranker: RankerSettings) -> Fitted:
    """The ranker with the joint space of the training part as one more block, its weights chosen anew."""
    alignment = align(split.train, AlignmentConfig(method=method, seed=split.seed))
    if alignment.aligner is None:
        return _chosen_again(config, split, ranker)
    contents = alignment.aligner.with_block(split.train.contents, len(split.train.item_ids), split.train.item_ids)
    fits = {name: replace(data, contents=contents) for name, data in split.fits.items()}
    fitted = _chosen_again(config, replace(split, train=replace(split.train, contents=contents), fits=fits), ranker)
    figures = {f"{r.source} to {r.target}, R@{r.k} (chance {r.chance:.3f})": r.value for r in alignment.retrieval}
    return replace(fitted, figures=figures)


def _missing(config: TrainingConfig, share: float, split: Split, ranker: RankerSettings) -> Fitted:
    """The ranker where a share of all texts and images is gone, in training as in use."""
    rng = np.random.default_rng([split.seed, round(100 * share)])
    contents = without_share(split.train.contents, share, rng)
    fits = {name: replace(data, contents=contents) for name, data in split.fits.items()}
    poorer = replace(split, train=replace(split.train, contents=contents), fits=fits)
    return _chosen_again(config, poorer, ranker)


def _disturbed(disturb: Disturb, split: Split, ranker: RankerSettings) -> Fitted:
    """The ranker with its settings on data that went wrong, which it is judged on as well."""
    fits = {name: disturb(data, np.random.default_rng(split.seed)) for name, data in split.fits.items()}
    return _fitted(replace(split, fits=fits), ranker)


def _pushed(share: float, split: Split, ranker: RankerSettings) -> Fitted:
    """The ranker where fake users push an item; figures say in how many lists of real users it is, before and after."""
    scores, figures = {}, {}
    for name, data in split.fits.items():
        target = least_known(data, np.random.default_rng(split.seed))
        pushed = with_push(data, share, target, np.random.default_rng(split.seed))
        for moment, trained in (("before", data), ("after", pushed)):
            scores[name] = _of_histories(data, fit_ranker(trained, ranker).score)
            figures[f"{name}: share of lists with the pushed item, {moment}"] = share_with(data, target, scores[name])
    return Fitted(ranker.model_dump(mode="json"), None, scores, figures)


def without_share(contents: Mapping[str, Content], share: float, rng: np.random.Generator) -> dict[str, Content]:
    """The same contents less the texts or images of some items: all blocks of a modality go together."""
    num_items = next(len(content.has) for content in contents.values())
    kept = {modality: rng.random(num_items) >= share for modality in MISSING_MODALITIES}
    return {name: _only(content, kept.get(name.split(":")[0])) for name, content in contents.items()}


def _only(content: Content, kept: np.ndarray | None) -> Content:
    if kept is None:
        return content
    if isinstance(content.matrix, np.ndarray):
        return Content.from_vectors(content.name, content.matrix, content.has & kept)
    matrix = content.matrix.multiply(kept[:, None]).tocsr()
    matrix.eliminate_zeros()
    return replace(content, matrix=matrix, has=content.has & kept)


def _product_baseline(name: BaselineName, config: TrainingConfig, split: Split, ranker: RankerSettings) -> Fitted:
    config = config.model_copy(update={"seed": split.seed})
    settings = choose_baseline(name, split.train, split.valid, config, ranker)
    models = {fit: fit_baseline(data, settings) for fit, data in split.fits.items()}
    scores = {fit: _of_histories(split.fits[fit], model.score) for fit, model in models.items()}
    return Fitted(settings.model_dump(mode="json"), None, scores)


def _reference(reference: Reference, num_settings: int, split: Split, ranker: RankerSettings) -> Fitted:
    judge = Judge.of(split.train, split.valid)
    settings, num_tried = reference.choose(split.train, judge.objective, num_settings, split.seed)
    scores = {fit: reference.fit(data, settings, split.seed) for fit, data in split.fits.items()}
    return Fitted(settings, num_tried, scores)
