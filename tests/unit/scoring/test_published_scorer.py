"""Published lists are in the order that the scorer was evaluated in, also after a catalogue was written and read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.features.scorer import require_same_scorer
from mmrec_lib.generation.candidate_texts import ItemTexts, TextScorer
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer import ScoredRanker
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.catalogue import Catalogue, load_catalogue, save_catalogue
from mmrec_lib.scoring.catalogue_scorer import CatalogueScorer
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.users import score_batch
from mmrec_lib.showing.item_rules import ItemRules
from tests.unit.generation.test_candidate_texts import Recorder
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import NUM_ITEMS, Circle, circle
from tests.unit.scoring.test_published_second_stage import USERS, batch_of
from tests.unit.scoring.test_users import rules_of

WEIGHT = ScorerWeight("judge", "r1", num_candidates=9, weight=1.0, deviation=150.0)
TEXTS = ItemTexts(
    np.array([f"t{n % 7}" for n in range(NUM_ITEMS)], dtype=object),
    np.array([None if n % 5 == 0 else "d" * (1 + n * 7 % 11) for n in range(NUM_ITEMS)], dtype=object),
)


@pytest.fixture(scope="module")
def store() -> Circle:
    return circle()


@pytest.fixture(scope="module")
def ranker(store: Circle) -> FittedRanker:
    return replace(fit_ranker(store.train, SETTINGS), scorer=WEIGHT)


def catalogue_of(ranker: FittedRanker) -> Catalogue:
    rules: ItemRules = rules_of(ranker.item_ids)
    listed = replace(rules, is_listed=np.ones(NUM_ITEMS, np.bool_))
    return Catalogue(ranker, ranker.item_ids, ranker.item_vectors(), listed)


@pytest.mark.parametrize("k", [4, 9, 15])
def test_published_lists_are_those_of_the_evaluated_ranker(store: Circle, ranker: FittedRanker, k: int) -> None:
    scorer = TextScorer(Recorder(), TEXTS, num_history=3)
    catalogue = replace(catalogue_of(ranker), scorer=scorer)
    batch = batch_of(store, ranker)
    rows = score_batch(batch, catalogue, ListConfig(k=k), RerankingConfig()).to_pylist()
    histories = store.train.histories().rows(np.arange(USERS))
    scores, seen = ScoredRanker(ranker, scorer).score(histories), histories.weights
    scores[np.repeat(np.arange(USERS), np.diff(seen.indptr)), seen.indices] = -np.inf
    for row, own in zip(rows, scores, strict=True):
        expected = np.argsort(-own, kind="stable")[: min(k, int(np.isfinite(own).sum()))]
        assert row["item_ids"] == ranker.item_ids[expected].tolist()
        for score, shares in zip(row["scores"], row["shares"] or (), strict=False):
            assert sum(dict(shares).values()) == pytest.approx(score, abs=1e-4)
    plain = score_batch(batch, catalogue_of(ranker), ListConfig(k=k), RerankingConfig()).to_pylist()
    assert any(row["item_ids"] != other["item_ids"] for row, other in zip(rows, plain, strict=True))


def test_a_user_s_list_does_not_depend_on_who_else_is_scored(store: Circle, ranker: FittedRanker) -> None:
    catalogue = replace(catalogue_of(ranker), scorer=TextScorer(Recorder(), TEXTS, num_history=3))
    batch = batch_of(store, ranker)
    whole = score_batch(batch, catalogue, ListConfig(k=5), RerankingConfig())
    alone = [score_batch(batch.slice(n, 1), catalogue, ListConfig(k=5), RerankingConfig()) for n in range(USERS)]
    assert whole.equals(pa.Table.from_batches(alone).combine_chunks().to_batches()[0])


def test_texts_and_settings_reach_a_worker(ranker: FittedRanker, tmp_path: Path) -> None:
    config = ScorerConfig(model="models/judge", fields=("title",))
    catalogue = replace(catalogue_of(ranker), scorer=CatalogueScorer(TEXTS, config, "r1"))
    ranker.save(tmp_path / "model")
    hashes = save_catalogue(catalogue, tmp_path / "model", str(tmp_path / "catalogue"))
    loaded = load_catalogue(str(tmp_path / "catalogue")).scorer
    assert isinstance(loaded, CatalogueScorer)
    assert loaded.texts.digest() == TEXTS.digest()
    assert loaded.config.model is not None and Path(loaded.config.model).is_absolute()
    assert loaded.config == config.model_copy(update={"model": loaded.config.model})
    other = replace(catalogue, scorer=CatalogueScorer(TEXTS, config, "r2"))
    assert save_catalogue(other, tmp_path / "model", str(tmp_path / "other"))["scorer"] != hashes["scorer"]


def test_another_scorer_than_that_of_the_training_is_refused() -> None:
    for config in (None, ScorerConfig()):
        with pytest.raises(ModelError, match=r"judge of revision r1, got none \(scorer.model\)"):
            require_same_scorer(config, WEIGHT)
