"""Full-ranking evaluation: metrics by user, segments, confidence intervals, paired differences."""

from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.evaluate import Scorer, SliceableHistories, evaluate, user_values
from mmrec_lib.evaluation.metrics import METRICS, list_metrics, rank_metrics
from mmrec_lib.evaluation.rows import MetricRow, flat_metrics, summarise
from mmrec_lib.evaluation.segments import SEGMENTS, Segment, UserValues

__all__ = [
    "METRICS",
    "SEGMENTS",
    "EvaluationConfig",
    "MetricRow",
    "Scorer",
    "Segment",
    "SliceableHistories",
    "UserValues",
    "evaluate",
    "flat_metrics",
    "list_metrics",
    "rank_metrics",
    "summarise",
    "user_values",
]
