"""The summary keeps the layout that others' checks read, and is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmrec_lib.evaluation import MetricRow
from mmrec_lib.reporting import ModelInfo, build_summary, write_json_atomic
from mmrec_lib.reporting.summary import replace_seconds


def rows(value: float) -> list[MetricRow]:
    return [
        MetricRow("ranker", "all", "ndcg", 10, value),
        MetricRow("ranker", "warm", "ndcg", 10, value / 2),
        MetricRow("popularity", "all", "ndcg", 10, value / 4),
    ]


def summary(metrics: dict[str, list[MetricRow]], model: ModelInfo | None = None) -> dict[str, object]:
    return build_summary(
        tables={"event": 3},
        quarantine={"not_json": 1},
        metrics=metrics,
        seconds={"ingest": 1.23456, "score": 0},
        model=model,
        versions={"mmrec": "0.1.0"},
    )


def test_the_layout_is_the_published_one() -> None:
    assert summary({"fit1": rows(0.4), "fit2": rows(0.8)}, ModelInfo("ranker", "2", "champion")) == {
        "tables": {"event": 3},
        "quarantine": {"not_json": 1},
        "metrics": {
            "fit1": {"ndcg@10": 0.4, "warm:ndcg@10": 0.2},
            "fit2": {"ndcg@10": 0.8, "warm:ndcg@10": 0.4},
        },
        "baselines": {"popularity": {"ndcg@10": 0.2}},
        "seconds": {"ingest": 1.235, "score": 0.0},
        "model": {"name": "ranker", "version": "2", "alias": "champion"},
        "versions": {"mmrec": "0.1.0"},
    }


def test_baselines_come_from_fit1_where_there_is_no_fit2() -> None:
    assert summary({"fit1": rows(0.4)})["baselines"] == {"popularity": {"ndcg@10": 0.1}}


def test_effects_on_lists_are_no_baselines() -> None:
    effects = [MetricRow(model, "lists", "gini", 10, value) for model, value in (("ranker", 0.9), ("reranked", 0.7))]
    made = summary({"fit1": [*rows(0.4), *effects]})
    assert made["metrics"]["fit1"]["lists:gini@10"] == 0.9  # type: ignore[index]
    assert made["lists"] == {"reranked": {"lists:gini@10": 0.7}}
    assert made["baselines"] == {"popularity": {"ndcg@10": 0.1}}


def test_lists_for_requests_are_no_baselines() -> None:
    asked = [
        MetricRow(model, "requests", "ndcg", 10, value)
        for model, value in (("ranker", 0.5), ("without_context", 0.3), ("first_stage", 0.2))
    ]
    first_stage = MetricRow("first_stage", "all", "ndcg", 10, 0.15)
    made = summary({"fit1": [*rows(0.4), first_stage, *asked]})
    assert made["metrics"]["fit1"] == {"ndcg@10": 0.4, "warm:ndcg@10": 0.2, "requests:ndcg@10": 0.5}  # type: ignore[index]
    assert made["baselines"] == {"popularity": {"ndcg@10": 0.1}, "first_stage": {"ndcg@10": 0.15}}
    assert made["requests"] == {
        "without_context": {"requests:ndcg@10": 0.3},
        "first_stage": {"requests:ndcg@10": 0.2},
    }
    assert "requests" not in summary({"fit1": rows(0.4)})


def test_before_there_is_a_model_the_keys_are_there_and_empty() -> None:
    made = summary({})
    assert made["model"] == {"name": None, "version": None, "alias": None}
    assert made["metrics"] == {} and made["baselines"] == {}


def test_a_value_that_is_no_number_becomes_null(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "s.json", summary({"fit1": rows(float("nan"))}))
    assert json.loads((tmp_path / "s.json").read_text())["metrics"]["fit1"]["ndcg@10"] is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json_atomic(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(path, {"a": float("inf")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_seconds_of_a_finished_run_replace_those_of_its_report(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json_atomic(path, {"tables": {"event": 3}, "seconds": {"ingest": 9.0}})
    replace_seconds(path, {"ingest": 1.0, "report": 0})
    assert json.loads(path.read_text()) == {"tables": {"event": 3}, "seconds": {"ingest": 1.0, "report": 0.0}}


def test_without_a_summary_there_is_nothing_to_replace(tmp_path: Path) -> None:
    replace_seconds(tmp_path / "summary.json", {"ingest": 1.0})
    assert list(tmp_path.iterdir()) == []
