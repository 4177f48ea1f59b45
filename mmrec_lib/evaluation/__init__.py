"""Full-ranking evaluation: metrics by user, segments, groups, intervals, paired tests, effects on lists."""

from mmrec_lib.evaluation.auc import user_auc
from mmrec_lib.evaluation.config import EvaluationConfig, GroupConfig
from mmrec_lib.evaluation.effects import LIST_METRICS, ListFacts, list_effects
from mmrec_lib.evaluation.evaluate import evaluate, user_values
from mmrec_lib.evaluation.groups import GroupFacts
from mmrec_lib.evaluation.lists import (
    average_popularity,
    catalogue_coverage,
    gini,
    intra_list_diversity,
    miscalibration,
    novelty,
    popularity_percentile,
    serendipity,
)
from mmrec_lib.evaluation.metrics import METRICS, list_metrics, rank_metrics
from mmrec_lib.evaluation.rankings import Scorer, SliceableHistories
from mmrec_lib.evaluation.rows import MetricRow, flat_metrics, summarise
from mmrec_lib.evaluation.segments import SEGMENTS, Segment, UserValues

__all__ = [
    "LIST_METRICS",
    "METRICS",
    "SEGMENTS",
    "EvaluationConfig",
    "GroupConfig",
    "GroupFacts",
    "ListFacts",
    "MetricRow",
    "Scorer",
    "Segment",
    "SliceableHistories",
    "UserValues",
    "average_popularity",
    "catalogue_coverage",
    "evaluate",
    "flat_metrics",
    "gini",
    "intra_list_diversity",
    "list_effects",
    "list_metrics",
    "miscalibration",
    "novelty",
    "popularity_percentile",
    "rank_metrics",
    "serendipity",
    "summarise",
    "user_auc",
    "user_values",
]
