from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.planted import Planted
from tests.benchmarks.training import main, planted_parts


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


def test_every_step_tells_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--users", "120", "--items", "60", "--events", "1500"]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = {line.split("  ")[0] for line in lines if " processor s " in line}
    names = ("ranker", "popularity", "decayed_popularity", "item_knn", "ease", "ranker_no_content")
    assert steps == {"data", *(f"{step} of {name}" for step in ("settings", "fit") for name in names)}
