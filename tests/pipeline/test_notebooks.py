"""The notebooks run as plain Python against a finished store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from tests.conftest import PROJECT

NOTEBOOKS = PROJECT / "notebooks"

pytestmark = [pytest.mark.models, pytest.mark.slow]


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
