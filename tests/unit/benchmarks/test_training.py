from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.planted import Planted
from tests.benchmarks.training import main, planted_parts, plot_sizes


def test_parts_hold_every_event_once_and_contents_every_item() -> None:
    planted = Planted(200, 100, 4_000, dim=8, seed=1)
    train, *others = planted_parts(planted)
    rows, columns = planted.interactions(0)
    events = np.bincount(rows * 100 + columns, minlength=200 * 100)
    stored = train.interactions.weights + others[0].weights + others[1].weights
    np.testing.assert_array_equal(stored.toarray().ravel(), events)
    assert train.interactions.weights.sum() == pytest.approx(0.8 * 4_000, rel=0.05)
    assert len(train.contents) == 5
    assert all(content.has.all() for content in train.contents.values())


def test_every_step_tells_its_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    results = tmp_path / "training.json"
    assert main(["--users", "120", "--items", "60", "--events", "1500", "--json", str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = {line.split("  ")[0] for line in lines if " processor s " in line}
    names = ("ranker", "popularity", "decayed_popularity", "item_knn", "ease", "ranker_no_content")
    assert not results.with_suffix(".png").exists(), "one size is no curve"
    other = json.loads(results.read_text()) | {"240x60x3000": {**json.loads(results.read_text())["120x60x1500"]}}
    other["240x60x3000"]["events"] = 3_000
    plot_sizes(other, results.with_suffix(".png"))
    with Image.open(results.with_suffix(".png")) as image:
        assert image.size[0] > 800
    assert steps == {"data", *(f"{step} of {name}" for step in ("settings", "fit") for name in names)}
