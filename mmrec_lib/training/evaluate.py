"""The candidate and its baselines → metrics: every user with something to find, the whole catalogue."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mmrec_lib.contracts.runs import MODEL_METRIC
from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.effects import LISTS
from mmrec_lib.evaluation.groups import GROUP_METRICS, is_group
from mmrec_lib.evaluation.head_metrics import OBSERVED, PREDICTED
from mmrec_lib.evaluation.rankings import Scorer
from mmrec_lib.evaluation.requests import WITHOUT_CONTEXT
from mmrec_lib.evaluation.rows import ABLATION, METRIC_FIELDS, MetricRow
from mmrec_lib.features.load import Snapshot, load_snapshot
from mmrec_lib.features.scorer import require_same_scorer, snapshot_scorer
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.data import Histories
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer import CandidateScorer, ScoredRanker
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.models.tuning.baselines import FittedBaseline
from mmrec_lib.models.tuning.validation import CUT_OFF
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.tracking.registry import CHAMPION, SNAPSHOT_TAG, RegisteredModel, Registry
from mmrec_lib.training.ablation import ablation_rows, logged_ablation
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.describe import CARD_FOLDER, CARD_TAG, describe
from mmrec_lib.training.evaluate_heads import evaluate_heads
from mmrec_lib.training.evaluate_requests import evaluate_requests
from mmrec_lib.training.fallback import INSTEAD_OF_TAG, is_baseline, register_baseline
from mmrec_lib.training.fits import FIRST_STAGE, RANKER, WITHOUT_SCORER, load_fits
from mmrec_lib.training.gate import best_baseline, decide_first, gate_values
from mmrec_lib.training.parts import evaluate_part
from mmrec_lib.training.register import DATA_TAG, FITS_FOLDER
from mmrec_lib.training.train import READS as TRAIN_READS

READS = (*TRAIN_READS, "user_profile", "registry:candidate")
FEEDBACK = ("registry:champion",)
"""The gate of a later job moves it: what is published now decides if a baseline may have to stand in."""
SCORER_SEGMENT = "scorer"
"""Segment of the rows that tell of the decision on a scorer."""
SECONDS = "seconds_per_1000_lists"
PLOTS_FOLDER = "plots"
PLOTS_TAG = "mmrec.plots"


MeasureLists = Callable[[str, str, FittedRanker, EvaluationConfig], list[MetricRow]]
"""Effects of rules and re-ranking on the lists of a ranker: fit, part, ranker and settings → rows."""
MakeMeasure = Callable[[Snapshot, CandidateScorer | None], MeasureLists]
"""Makes it for a snapshot and the scorer over its items."""


def evaluate_candidate(
    lakehouse: Lakehouse,
    registry: Registry,
    config: EvaluationConfig,
    promotion: PromotionConfig,
    effects: MakeMeasure | None = None,
    scorer_config: ScorerConfig | None = None,
) -> tuple[dict[str, int], str]:
    """Write model_metric for the candidate, and log the figures to its run.

    Where no ranker is published and the gate will refuse this one too, its best baseline is registered and evaluated as
    well, so that there is something to publish.

    Args:
        lakehouse: The store.
        registry: The candidate and where its figures go.
        config: Cut-offs and bootstrap.
        promotion: The gate that follows.
        effects: Measures lists of a snapshot, with the scorer if any, as users get them; None where these are the
            ranker's own.
        scorer_config: The scorer that a ranker may have a weight for; None has none.

    Returns:
        Counts and a message for job_run.

    Raises:
        ModelError: When there is no candidate, it was not trained on the current snapshot, or it was trained with
            another scorer.
    """
    snapshot = load_snapshot(lakehouse)
    candidate = require_candidate(registry, snapshot.snapshot_id)
    require_same_data(candidate, snapshot)
    config = config.model_copy(update={"ks": tuple(sorted({*config.ks, promotion.k}))})
    scorer = snapshot_scorer(lakehouse, scorer_config, snapshot)
    in_use = ScorerInUse(None if scorer is None else scorer.candidates, scorer_config)
    measure_lists = None if effects is None else effects(snapshot, in_use.scorer)
    champion = registry.by_alias(CHAMPION)
    with tempfile.TemporaryDirectory() as scratch:
        fits = registry.artifact_folder(candidate, FITS_FOLDER, Path(scratch) / "candidate")
        metrics = _evaluate_version(lakehouse, registry, snapshot, candidate, fits, config, measure_lists, in_use)
        message = f"version {candidate.version}: {_headline(metrics, config)}"
        num_rows = sum(map(len, metrics.values()))
        values = gate_values(metrics["fit1", "valid"], promotion)
        name = best_baseline(values)
        is_lost = champion is not None and not registry.is_intact(champion)
        needs_baseline = champion is None or is_lost or (is_baseline(champion) and champion != candidate)
        if needs_baseline and name is not None and not decide_first(values, promotion).passed:
            version = register_baseline(lakehouse, registry, snapshot, candidate, name, fits)
            own_fits = registry.artifact_folder(version, FITS_FOLDER, Path(scratch) / "baseline")
            of_baseline = _evaluate_version(
                lakehouse, registry, snapshot, version, own_fits, config, measure_lists, in_use
            )
            num_rows += sum(map(len, of_baseline.values()))
            message += f"; version {version.version}, the baseline {name}: {_headline(of_baseline, config)}"
    return {"metrics": num_rows}, message


def _evaluate_version(
    lakehouse: Lakehouse,
    registry: Registry,
    snapshot: Snapshot,
    version: RegisteredModel,
    fits_folder: Path,
    config: EvaluationConfig,
    measure_lists: MeasureLists | None,
    in_use: ScorerInUse,
) -> dict[tuple[str, str], list[MetricRow]]:
    """Evaluate the fits of a version, write its slice of model_metric and its figures; metrics by fit and part."""
    # Matplotlib takes seconds to import, which a run that evaluates nothing does not spend.
    from mmrec_lib.reporting.plots import plot_losses, plot_metric, plot_reliability

    fits, models = load_fits(fits_folder)
    of_train = models["fit1"][RANKER]
    assert isinstance(of_train, FittedRanker)
    metrics: dict[tuple[str, str], list[MetricRow]] = {}
    for fit, part, data in (("fit1", "valid", "fit1"), *((fit, "test", data) for fit, data in fits.items())):
        scorers, ranker = in_use.models(models[data]), models[data][RANKER]
        assert isinstance(ranker, FittedRanker)
        metrics[fit, part] = evaluate_part(snapshot, data, part, scorers, config)
        metrics[fit, part] += evaluate_requests(snapshot, data, part, ranker, scorers, config)
        if part == "test":
            metrics[fit, part] += evaluate_heads(snapshot, data, part, ranker, config)
        if measure_lists is not None:
            metrics[fit, part] += measure_lists(data, part, ranker, config)
    if of_train.scorer is not None:
        metrics["fit1", "valid"] += scorer_rows(of_train.scorer)
    ablation = [] if is_baseline(version) else ablation_rows(snapshot, of_train, config)
    rows = [
        (version.version, fit, part, *(asdict(row)[name] for name in METRIC_FIELDS))
        for (fit, part), found in {**metrics, (ABLATION, "valid"): ablation}.items()
        for row in found
    ]
    frame = lakehouse.spark.createDataFrame(rows, MODEL_METRIC.input_schema)
    lakehouse.replace_slice("model_metric", frame, {"model_version": version.version})
    for (fit, part), found in metrics.items():
        registry.log_metrics(version, {f"{fit}.{part}.{name}": value for name, value in _logged(found)})
        if found:
            with tempfile.TemporaryDirectory() as scratch:
                plot = Path(scratch) / f"{fit}-{part}.png"
                of_segments = [row for row in found if not is_group(row)]
                plot_metric(of_segments, f"{fit} on {part}: nDCG@{min(config.ks)}", "ndcg", min(config.ks), plot)
                registry.log_artifact(version, plot, PLOTS_FOLDER)
                if any(row.metric == PREDICTED for row in found):
                    plot = plot_reliability(found, f"{fit} on {part}", Path(scratch) / f"{fit}-{part}-heads.png")
                    registry.log_artifact(version, plot, PLOTS_FOLDER)
    if ablation:
        registry.log_metrics(version, {f"{ABLATION}.{name}": value for name, value in logged_ablation(ablation)})
        with tempfile.TemporaryDirectory() as scratch:
            plot = plot_losses(ablation, "ndcg", min(config.ks), Path(scratch) / f"{ABLATION}.png")
            registry.log_artifact(version, plot, PLOTS_FOLDER)
    registry.seal_folder(version, PLOTS_FOLDER, PLOTS_TAG)
    describe(registry, version, snapshot, ranker=of_train, rows=metrics, ablation=ablation, k=min(config.ks))
    return {**metrics, (ABLATION, "valid"): ablation}


@dataclass(frozen=True)
class ScorerInUse:
    """The scorer of an evaluation.

    Attributes:
        scorer: The scorer over the items of the snapshot; None without one.
        config: Its settings.
    """

    scorer: CandidateScorer | None
    config: ScorerConfig | None

    def models(self, models: Mapping[str, FittedRanker | FittedBaseline]) -> dict[str, Scorer[Histories]]:
        """The models of a fit, the ranker with the scorer that has a weight in it, and the ranker without its parts.

        Raises:
            ModelError: When the ranker was trained with another scorer.
        """
        ranker = models[RANKER]
        assert isinstance(ranker, FittedRanker)
        found: dict[str, Scorer[Histories]] = dict(with_first_stage(models))
        if ranker.scorer is None or not ranker.scorer.is_used:
            return found
        require_same_scorer(self.config, ranker.scorer)
        assert self.scorer is not None
        return {**found, RANKER: ScoredRanker(ranker, self.scorer), WITHOUT_SCORER: ranker}


def scorer_rows(weight: ScorerWeight) -> list[MetricRow]:
    """Rows of the decision on a scorer: its weight, its gain with the interval, and what it costs."""
    values = (("weight", 0, weight.weight), ("ndcg_gain", CUT_OFF, weight.gain), (SECONDS, 0, weight.seconds))
    rows = [
        MetricRow(RANKER, SCORER_SEGMENT, metric, k, value, num_users=weight.num_users) for metric, k, value in values
    ]
    rows[1] = replace(rows[1], ci_low=weight.low, ci_high=weight.high)
    return rows


def with_first_stage(
    models: Mapping[str, FittedRanker | FittedBaseline],
) -> dict[str, FittedRanker | FittedBaseline]:
    """The models of a fit and, where the ranker has a second stage, the ranker without it."""
    ranker = models[RANKER]
    assert isinstance(ranker, FittedRanker)
    if ranker.second_stage is None:
        return dict(models)
    return {**models, FIRST_STAGE: replace(ranker, second_stage=None)}


def _logged(rows: Sequence[MetricRow]) -> Iterator[tuple[str, float]]:
    """Names and values for the run: the ranker's, and on lists those of the others too.

    Of the metrics that groups are told by also the interval, and the difference to the best other model with its
    corrected p-value.
    """
    best: dict[tuple[str, str], MetricRow] = {}
    for row in rows:
        if row.metric in (PREDICTED, OBSERVED):
            continue
        if row.model == RANKER:
            yield f"{row.segment}.{row.name}", row.value
            if row.metric in GROUP_METRICS and row.ci_low is not None and row.ci_high is not None:
                yield f"{row.segment}.{row.name}.ci_low", row.ci_low
                yield f"{row.segment}.{row.name}.ci_high", row.ci_high
        elif row.segment == LISTS:
            yield f"{row.segment}.{row.model}.{row.name}", row.value
        elif row.model in (FIRST_STAGE, WITHOUT_SCORER, WITHOUT_CONTEXT):
            if row.metric in GROUP_METRICS and row.diff is not None:
                yield f"{row.segment}.{row.name}.minus_{row.model}", row.diff
        elif row.metric in GROUP_METRICS and row.p_adjusted is not None:
            key = (row.segment, row.name)
            if key not in best or best[key].value < row.value:
                best[key] = row
    for (segment, name), row in best.items():
        assert row.diff is not None and row.p_adjusted is not None
        yield f"{segment}.{name}.minus_best", row.diff
        yield f"{segment}.{name}.minus_best.p_adjusted", row.p_adjusted


def _headline(metrics: Mapping[tuple[str, str], list[MetricRow]], config: EvaluationConfig) -> str:
    k = min(config.ks)
    return f"nDCG@{k} on test {_value(metrics.get(('fit2', 'test'), []), k)}"


def is_evaluated(registry: Registry) -> bool:
    """True when the candidate has plots and model card, and so has the baseline that may be published in its place."""
    newest = registry.newest()
    if newest is None:
        return False
    stand_ins = [model for model in registry.versions() if model.tags.get(INSTEAD_OF_TAG) == newest.version]
    is_whole = all(
        registry.is_sealed(model, folder, tag)
        for model in (newest, *stand_ins[:1])
        for folder, tag in ((PLOTS_FOLDER, PLOTS_TAG), (CARD_FOLDER, CARD_TAG))
    )
    return is_whole and all(registry.is_intact(model) for model in stand_ins[:1])


def require_candidate(registry: Registry, snapshot_id: str) -> RegisteredModel:
    """The candidate, which must have been trained on this snapshot and have all its files.

    Raises:
        ModelError: When it was not, files are gone, or there is none.
    """
    candidate = registry.newest()
    if candidate is None:
        raise ModelError(f"There is no version of {registry.model_name} yet. Run train_ranker first.")
    trained_on = candidate.tags.get(SNAPSHOT_TAG)
    if trained_on != snapshot_id:
        raise ModelError(
            f"{candidate.name} version {candidate.version} was trained on snapshot {trained_on}, but the current one "
            f"is {snapshot_id}. Run train_ranker first."
        )
    if not registry.is_intact(candidate):
        raise ModelError(
            f"{candidate.name} version {candidate.version}: files of it are gone. Run train_ranker first: it makes "
            "them again as a new version."
        )
    return candidate


def require_same_data(candidate: RegisteredModel, snapshot: Snapshot) -> None:
    """Check that a model was trained on a snapshot as it is now.

    Raises:
        ModelError: When users or items were deleted or added since.
    """
    if candidate.tags.get(DATA_TAG) != snapshot.data_hash:
        raise ModelError(
            f"{candidate.name} version {candidate.version} was trained before users or items of snapshot "
            f"{snapshot.snapshot_id} were deleted or added. Run train_ranker first."
        )


def _value(rows: list[MetricRow], k: int) -> str:
    found = [r for r in rows if (r.model, r.segment, r.metric, r.k) == (RANKER, "all", "ndcg", k)]
    return f"{found[0].value:.4f}" if found else "not measured (nobody has anything to find)"
