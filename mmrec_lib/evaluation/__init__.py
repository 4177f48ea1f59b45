"""Full-ranking evaluation: metrics by user, segments, confidence intervals, paired differences, effects on lists."""

from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.effects import LIST_METRICS, ListFacts, list_effects
from mmrec_lib.evaluation.evaluate import Scorer, SliceableHistories, evaluate, user_values
from mmrec_lib.evaluation.lists import catalogue_coverage, gini, intra_list_diversity, miscalibration, novelty
from mmrec_lib.evaluation.metrics import METRICS, list_metrics, rank_metrics
from mmrec_lib.evaluation.rows import MetricRow, flat_metrics, summarise
from mmrec_lib.evaluation.segments import SEGMENTS, Segment, UserValues

__all__ = [
    "LIST_METRICS",
    "METRICS",
    "SEGMENTS",
    "EvaluationConfig",
    "ListFacts",
    "MetricRow",
    "Scorer",
    "Segment",
    "SliceableHistories",
    "UserValues",
    "catalogue_coverage",
    "evaluate",
    "flat_metrics",
    "gini",
    "intra_list_diversity",
    "list_effects",
    "list_metrics",
    "miscalibration",
    "novelty",
    "rank_metrics",
    "summarise",
    "user_values",
]
