"""The summary that other programs read: `summary.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrec_lib.evaluation.effects import LISTS
from mmrec_lib.evaluation.head_metrics import is_head
from mmrec_lib.evaluation.requests import REQUESTS
from mmrec_lib.evaluation.rows import MetricRow, flat_metrics
from mmrec_lib.files import write_text_atomic
from mmrec_lib.reporting.data import ModelInfo

RANKER = "ranker"


def build_summary(
    *,
    tables: Mapping[str, int],
    quarantine: Mapping[str, int],
    metrics: Mapping[str, Sequence[MetricRow]],
    seconds: Mapping[str, float],
    model: ModelInfo | None,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The layout that others' checks read; keep it.

    Args:
        tables: Rows by table.
        quarantine: Rows by reason.
        metrics: Rows of metrics by fit (fit1, fit2).
        seconds: By job, 0 where it was skipped.
        model: The model behind the lists; None before there is one.
        versions: Versions of the software, by name.

    Returns:
        `{tables: {name: rows}, quarantine: {reason: rows}, metrics: {fit: {"ndcg@10": value, "warm:ndcg@10": …}},
        baselines: {name: {…}}, lists: {name: {…}}, requests: {name: {…}}, seconds: {job: s}, model: {name, version,
        alias}, versions: {…}}`. Baselines are those of fit2, or of fit1 where there is no fit2; so are lists, which are
        there where rules or re-ranking make other lists than the ranker, and requests, which are there where the ranker
        knows the context of a request.
    """
    evaluated = metrics.get("fit2") or metrics.get("fit1") or ()
    requests = [row for row in evaluated if row.segment == REQUESTS.name and row.model != RANKER]
    evaluated = [row for row in evaluated if row.segment != REQUESTS.name]
    others = [row for row in evaluated if row.model != RANKER]
    baselines = dict.fromkeys(row.model for row in others if row.segment != LISTS and not is_head(row))
    asked = {name: _finite(flat_metrics(requests, name)) for name in dict.fromkeys(row.model for row in requests)}
    lists = dict.fromkeys(row.model for row in others if row.segment == LISTS)
    return {
        "tables": dict(tables),
        "quarantine": dict(quarantine),
        "metrics": {fit: _finite(flat_metrics(rows, RANKER)) for fit, rows in metrics.items()},
        "baselines": {name: _finite(flat_metrics(evaluated, name)) for name in baselines},
        **({"lists": {name: _finite(flat_metrics(evaluated, name)) for name in lists}} if lists else {}),
        **({"requests": asked} if asked else {}),
        "seconds": {job: round(float(value), 3) for job, value in seconds.items()},
        "model": {
            "name": model.name if model else None,
            "version": model.version if model else None,
            "alias": model.alias if model else None,
        },
        "versions": dict(versions),
    }


def replace_seconds(path: Path, seconds: Mapping[str, float]) -> None:
    """Write the seconds of a whole run into a summary that a report job wrote; nothing where there is none."""
    if path.exists():
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["seconds"] = {job: round(float(value), 3) for job, value in seconds.items()}
        write_json_atomic(path, summary)


def write_json_atomic(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part.

    Args:
        path: File to write; its folder exists.
        data: Numbers must be finite.

    Raises:
        ValueError: When a number is NaN or infinite, which JSON cannot say.
    """
    write_text_atomic(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
