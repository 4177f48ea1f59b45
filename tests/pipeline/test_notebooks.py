"""The notebooks run as plain Python against a finished store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from tests.conftest import PROJECT
from tests.pipeline.conftest import Demo

NOTEBOOKS = PROJECT / "notebooks"

pytestmark = pytest.mark.models


def run_notebook(
    name: str, store: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], list[str]]:
    """Run a notebook's source in this process; returns its names and the headings of the images it showed."""
    shown: list[str] = []

    def show() -> None:
        figure = plt.gcf()
        shown.append(figure.get_suptitle() or figure.axes[0].get_ylabel())

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.setenv("MMREC_OUT", str(store))
    monkeypatch.setenv("MMREC_MODELS", str(models))
    plt.switch_backend("agg")
    path = NOTEBOOKS / f"{name}.py"
    names: dict[str, Any] = {"__name__": "notebook"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names, shown


@pytest.mark.slow
def test_look_at_tables_shows_lists_images_and_quarantine(
    demo_store: Path, models_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, shown = run_notebook("look_at_tables", demo_store, models_root, monkeypatch)
    printed = capsys.readouterr().out
    assert names["user_id"]
    assert names["nearest"], "the best item has neighbours"
    assert [heading.split(" ")[0] for heading in shown] == ["for", "history", "most"]
    assert "not_json" in printed
    assert "closest to:" in printed


def test_compare_models_shows_the_champion_and_its_figures(
    demo_store: Path, models_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, shown = run_notebook("compare_models", demo_store, models_root, monkeypatch)
    printed = capsys.readouterr().out
    assert names["aliases"]["champion"] is not None
    assert "champion: version" in printed
    assert "popularity" in printed
    assert any("on test" in heading for heading in shown)


@pytest.mark.slow
def test_encode_own_table_finds_the_text_that_says_the_same(
    demo_store: Path, models_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, _ = run_notebook("encode_own_table", demo_store, models_root, monkeypatch)
    assert names["missing"] == ["e"]
    assert names["neighbor_of"] == {"a": "b", "b": "a", "c": "d", "d": "c"}
    assert names["closest"].count() == 4


@pytest.mark.slow
def test_search_by_words_ranks_every_image_and_shows_the_best(
    demo_store: Path, models_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, shown = run_notebook("search_by_words", demo_store, models_root, monkeypatch)
    scores = [score for _, score in names["hits"]]
    assert len(scores) == 6 and scores == sorted(scores, reverse=True)
    assert shown == ["for the words: shoes"]


def test_tune_and_compare_reads_validation_only(
    demo_store: Path, models_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, shown = run_notebook("tune_and_compare", demo_store, models_root, monkeypatch)
    assert {row.model for row in names["shown"]} == {"ranker", "without content", "implicit ALS only"}
    assert all(row.diff is not None for row in names["shown"] if row.model != "ranker")
    assert shown == ["variants on validation"]


def test_trace_recommendation_ends_at_files_of_the_landing_folder(
    demo: Demo, models_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, _ = run_notebook("trace_recommendation", demo.out, models_root, monkeypatch)
    sources = {row["source_path"] for row in names["traced"].collect()} | {names["item"]["source_path"]}
    assert sources
    assert [path for path in sources if not (demo.data / path).is_file()] == []
    assert names["snapshot"]["snapshot_id"] == names["snapshot_id"]
    (explained,) = names["why"]
    assert explained.item_id == names["line"]["item_id"]
    assert {other.rank for other in explained.without} == {explained.without[0].rank}, "one rank with all items"
