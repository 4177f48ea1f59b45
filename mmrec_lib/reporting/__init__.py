"""Pages for people and summaries for programs."""

from mmrec_lib.reporting.data import (
    Card,
    EncodeCount,
    FunnelStage,
    HistoryItem,
    ModelInfo,
    Neighbors,
    QuarantineReason,
    Recommendation,
    ReconciliationRow,
    ReportData,
    ShownUser,
    SpokenReview,
)
from mmrec_lib.reporting.report import render_report
from mmrec_lib.reporting.summary import build_summary, write_json_atomic

__all__ = [
    "Card",
    "EncodeCount",
    "FunnelStage",
    "HistoryItem",
    "ModelInfo",
    "Neighbors",
    "QuarantineReason",
    "Recommendation",
    "ReconciliationRow",
    "ReportData",
    "ShownUser",
    "SpokenReview",
    "build_summary",
    "render_report",
    "write_json_atomic",
]
