"""An evaluation ranks with the scorer that has a weight, shows the ranker without it, and tells gain and cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.models.tuning.choose_scorer import choose_scorer
from mmrec_lib.recipes.scorer import scorer_revision
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.evaluate import ScorerInUse, scorer_rows
from mmrec_lib.training.fits import RANKER, WITHOUT_SCORER
from mmrec_lib.training.gate import gate_values
from tests.unit.generation.test_likelihood import make_judge
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import Circle, circle
from tests.unit.models.test_scorer_weight import NEXT


@pytest.fixture(scope="module")
def store() -> Circle:
    return circle()


@pytest.fixture(scope="module")
def ranker(store: Circle) -> FittedRanker:
    return fit_ranker(store.train, SETTINGS)


def test_a_ranker_is_evaluated_with_its_scorer_and_beside_itself_without(
    store: Circle, ranker: FittedRanker, tmp_path: Path
) -> None:
    make_judge(tmp_path / "judge")
    config = ScorerConfig(model=str(tmp_path / "judge"))
    untried = ScorerWeight("judge", str(scorer_revision(config)), num_candidates=12)
    weight = choose_scorer(ranker, store.train, store.rest, NEXT, untried, max_users=1_000, seed=0)
    in_use = ScorerInUse(NEXT, config)
    assert list(in_use.models({RANKER: ranker})) == [RANKER], "as without one"
    assert list(in_use.models({RANKER: replace(ranker, scorer=replace(weight, weight=0.0))})) == [RANKER]
    models = in_use.models({RANKER: replace(ranker, scorer=weight)})
    assert set(models) == {RANKER, WITHOUT_SCORER}
    histories = store.train.histories()
    assert np.array_equal(models[WITHOUT_SCORER].score(histories), ranker.score(histories))
    assert not np.array_equal(models[RANKER].score(histories), ranker.score(histories))

    shorter = config.model_copy(update={"num_history": 2})
    for other in (ScorerInUse(None, None), ScorerInUse(NEXT, shorter)):
        with pytest.raises(ModelError, match="the ranker was trained with judge of revision"):
            other.models({RANKER: replace(ranker, scorer=weight)})


def test_gain_and_cost_stand_side_by_side() -> None:
    weight = ScorerWeight("judge", "r", 30, 0.5, 1.2, gain=0.01, low=0.002, high=0.018, num_users=99, seconds=12.5)
    rows = {row.name: row for row in scorer_rows(weight)}
    assert {row.segment for row in rows.values()} == {"scorer"}
    gain = rows["ndcg_gain@10"]
    assert (gain.value, gain.ci_low, gain.ci_high, gain.num_users) == (0.01, 0.002, 0.018, 99)
    assert (rows["weight"].value, rows["seconds_per_1000_lists"].value) == (0.5, 12.5)


def test_the_ranker_without_its_scorer_is_no_baseline() -> None:
    rows = [MetricRow(model, "all", "ndcg", 10, 0.3) for model in (RANKER, WITHOUT_SCORER, "popularity")]
    assert set(gate_values(rows, PromotionConfig())) == {RANKER, "popularity"}
