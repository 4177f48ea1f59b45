"""The ablation looks at validation alone, compares with the first stage, and keeps within its bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import AblationConfig, EvaluationConfig
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.training.ablation import ablation_rows, logged_ablation
from mmrec_lib.training.describe import _part
from tests.unit.models.checkerboard import DAY, NUM_USERS, SETTINGS, START, checkerboard

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
CONFIG = EvaluationConfig(num_bootstrap=100)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """The board: what was left out is the validation part; a test part would be an error to look at."""
    board = checkerboard()
    return Snapshot(
        snapshot_id="s1",
        cuts=Cuts(date(2024, 1, 1), "by_time", datetime.fromtimestamp(START + 31 * DAY, UTC), None),
        user_ids=np.array([f"u{number:02d}" for number in range(NUM_USERS)]),
        item_ids=board.train.item_ids,
        is_available=np.ones(len(board.train.item_ids), dtype=np.bool_),
        parts={"train": board.train.interactions, "valid": board.rest},
        contents={("all", name): content for name, content in board.train.contents.items()},
        user_attributes=board.train.user_attributes,
    )


@pytest.fixture(scope="module")
def ranker(snapshot: Snapshot) -> FittedRanker:
    return fit_first_stage(snapshot.fit_data("fit1"), SETTINGS)


def test_each_part_has_rows_that_compare_it_with_the_whole(snapshot: Snapshot, ranker: FittedRanker) -> None:
    rows = ablation_rows(snapshot, ranker, CONFIG)
    by_key = {(row.model, row.segment, row.name): row for row in rows}
    assert {row.metric for row in rows} == {"ndcg", "recall"}
    whole = by_key["ranker", "all", "ndcg@10"]
    without = by_key["without_modality:attribute", "cold_items", "ndcg@10"]
    assert whole.diff is None and without.diff is not None
    assert without.diff > 0, "colours find the cold items"
    for (model, segment, name), row in by_key.items():
        if model != "ranker":
            assert row.diff == pytest.approx(by_key["ranker", segment, name].value - row.value)
    logged = dict(logged_ablation(rows))
    key = "without_modality:attribute.cold_items.ndcg@10"
    assert logged[key] == without.value and logged[f"{key}.loss"] == without.diff
    assert not any(name.startswith("ranker") for name in logged)


@pytest.mark.parametrize("bounds", [AblationConfig(max_items=0), AblationConfig(max_cells=10)])
def test_larger_stores_have_none(snapshot: Snapshot, ranker: FittedRanker, bounds: AblationConfig) -> None:
    assert ablation_rows(snapshot, ranker, CONFIG.model_copy(update={"ablation": bounds})) == []


def test_nobody_to_evaluate_on_gives_no_rows(snapshot: Snapshot, ranker: FittedRanker) -> None:
    nothing = snapshot.parts["valid"].where(np.zeros(snapshot.parts["valid"].weights.nnz, dtype=np.bool_))
    empty = replace(snapshot, parts={**snapshot.parts, "valid": nothing})
    assert ablation_rows(empty, ranker, CONFIG) == []


def test_a_part_is_told_with_its_first_and_last_day(snapshot: Snapshot) -> None:
    facts = _part(snapshot.parts["train"])
    assert facts.num_pairs == snapshot.parts["train"].weights.nnz and facts.num_users == NUM_USERS - 2
    assert "2023-11-14" <= facts.dates[0] < facts.dates[1] <= "2023-12-15"
    untimed = replace(snapshot.parts["train"], times=snapshot.parts["train"].times * 0)
    assert _part(untimed).dates == ()


def test_a_ranker_that_has_seen_validation_is_refused(snapshot: Snapshot) -> None:
    everything = snapshot.fit_data("fit2")
    assert (everything.interactions.item_counts() > 0).sum() > (snapshot.parts["train"].item_counts() > 0).sum()
    with pytest.raises(ModelError, match="not fitted on the training part"):
        ablation_rows(snapshot, fit_first_stage(everything, SETTINGS), CONFIG)
