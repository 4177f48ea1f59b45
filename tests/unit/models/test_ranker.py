from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import ColdItemSettings, RankerSettings
from mmrec_lib.models.data import Content, Histories, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from tests.unit.models.checkerboard import Checkerboard


@pytest.fixture(scope="module")
def ranker(board: Checkerboard, settings: RankerSettings) -> FittedRanker:
    popularity = settings.popularity.model_copy(update={"warm_weight": 0.1, "warm_group_weight": 0.1})
    cold = ColdItemSettings(scale=1.5, shift=0.2)
    return fit_ranker(board.train, settings.model_copy(update={"popularity": popularity, "cold_items": cold}))


def test_score_is_the_dot_product_of_the_vectors(ranker: FittedRanker, board: Checkerboard) -> None:
    histories = board.train.histories()
    expected = ranker.user_vectors(histories) @ ranker.item_vectors().T
    np.testing.assert_array_equal(ranker.score(histories), expected)
    assert ranker.item_vectors().shape == (len(board.train.item_ids), ranker.vector_dim)


def test_shares_add_up_to_the_score(ranker: FittedRanker, board: Checkerboard) -> None:
    histories = board.train.histories()
    items = np.random.default_rng(0).integers(0, len(board.train.item_ids), (len(histories), 7))
    shares = ranker.explain(ranker.project(histories), items).shares
    total = np.sum([share.astype(np.float64) for share in shares.values()], axis=0)
    np.testing.assert_allclose(total, np.take_along_axis(ranker.score(histories), items, axis=1), atol=1e-5)
    assert set(shares) == {*ranker.sources, "content", "popularity", "demographics", "residual"}


def test_sources_explain_most_of_a_warm_pair(ranker: FittedRanker, board: Checkerboard) -> None:
    histories = board.train.histories().rows(np.arange(10))
    items = np.argsort(-ranker.score(histories), axis=1)[:, :5]
    shares = ranker.explain(ranker.project(histories), items).shares
    warm = ranker.warm[items]
    assert np.abs(shares["residual"][warm]).mean() < 0.2 * sum(
        np.abs(shares[name][warm]).mean() for name in ranker.sources
    )


def test_an_item_without_interactions_goes_to_users_who_like_its_content(
    ranker: FittedRanker, board: Checkerboard
) -> None:
    scores = ranker.score(board.train.histories())
    warm_users = np.diff(board.train.interactions.weights.indptr) > 0
    for item in np.flatnonzero(board.cold_items):
        own = board.user_colour == board.item_colour[item]
        assert scores[own & warm_users, item].min() > scores[~own & warm_users, item].max()


def test_an_item_that_comes_after_the_fit_gets_the_vector_of_its_content(
    ranker: FittedRanker, board: Checkerboard
) -> None:
    cold = np.flatnonzero(board.cold_items)
    contents = {
        name: Content(name, content.kind, content.matrix[cold], content.has[cold], content.tokens)
        for name, content in board.train.contents.items()
    }
    later = ranker.item_vectors_from_content(contents, len(cold))
    np.testing.assert_allclose(later, ranker.item_vectors()[cold], atol=1e-5)


def test_unknown_tokens_of_a_new_item_are_ignored(ranker: FittedRanker) -> None:
    contents = {"attribute:colour": Content.from_tokens("attribute:colour", [["red", "mauve"], ["red"]])}
    vectors = ranker.item_vectors_from_content(contents, 2)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_vectors_of_another_encoder_are_refused_by_name(ranker: FittedRanker) -> None:
    contents = {"image:images": Content.from_vectors("image:images", np.ones((1, 3)))}
    with pytest.raises(ModelError, match=r"image:images.*length 8.*got 3"):
        ranker.item_vectors_from_content(contents, 1)


def test_people_without_history_get_popularity_and_their_groups_exactly(
    ranker: FittedRanker, board: Checkerboard
) -> None:
    histories = board.train.histories().rows(np.array([58, 59]))
    assert histories.weights.nnz == 0
    expected = ranker.popularity.log_popularity + ranker.settings.popularity.group_weight * (
        ranker.popularity.codes(histories.attributes, 2) @ ranker.popularity.log_ratios.T
    )
    warm = ranker.warm
    np.testing.assert_allclose(ranker.score(histories)[:, warm], expected[:, warm], atol=1e-5)
    own = board.item_colour[None, :] == board.user_colour[[58, 59], None]
    scores = ranker.score(histories)
    assert (scores * (own & warm)).sum() / (own & warm).sum() > (scores * (~own & warm)).sum() / (~own & warm).sum()


def test_nobody_and_nothing_known_still_scores(ranker: FittedRanker, board: Checkerboard) -> None:
    stranger = Histories(sparse.csr_matrix(np.zeros((1, len(board.train.item_ids)), dtype=np.float32)))
    scores = ranker.score(stranger)
    np.testing.assert_allclose(scores[0, ranker.warm], ranker.popularity.log_popularity[ranker.warm], atol=1e-6)


def test_histories_of_another_catalogue_are_refused(ranker: FittedRanker) -> None:
    with pytest.raises(ModelError, match="one column for each of the 40 items"):
        ranker.score(Histories(sparse.csr_matrix(np.zeros((1, 3), dtype=np.float32))))


def test_nothing_after_the_cut_can_be_fitted_on(board: Checkerboard) -> None:
    latest = float(board.train.interactions.times.data.max())
    with pytest.raises(ModelError, match="nothing after the cut"):
        replace(board.train, cut_ts=latest - 1)


def test_large_catalogues_do_without_item_by_item_matrices(board: Checkerboard, settings: RankerSettings) -> None:
    small = settings.model_copy(update={"max_dense_items": 10})
    model = fit_ranker(board.train, small)
    assert set(model.sources) == {"ials", "graph_filter"}
    assert all(min(array.shape) <= 8 for source in model.sources.values() for array in source.arrays().values())
    scores = model.score(board.train.histories())
    user = 0
    own = board.item_colour == board.user_colour[user]
    unseen = board.train.interactions.weights[[user]].toarray()[0] == 0
    assert scores[user][unseen & own & model.warm].min() > scores[user][unseen & ~own & model.warm].max()


def test_content_can_be_left_out_by_name(board: Checkerboard, settings: RankerSettings) -> None:
    model = fit_ranker(board.train, settings.model_copy(update={"exclude_content": ("image:images",)}))
    assert model.cold_items is not None
    assert set(model.cold_items.coefficients) == {"attribute:colour"}


def test_a_store_with_one_event_can_be_fitted(board: Checkerboard, settings: RankerSettings) -> None:
    single = Interactions.from_rows([0], [0], board.train.interactions.shape)
    model = fit_ranker(board.train.with_interactions(single), settings)
    assert np.isfinite(model.score(board.train.histories())).all()


def test_a_model_saved_before_ease_with_content_was_renamed_is_read(
    ranker: FittedRanker, board: Checkerboard, tmp_path: Path
) -> None:
    ranker.save(tmp_path)
    arrays = load_file(str(tmp_path / "model.safetensors"))
    assert any(name.startswith("source/content_ease/") for name in arrays)
    save_file(
        {name.replace("content_ease", "cease"): a for name, a in arrays.items()}, str(tmp_path / "model.safetensors")
    )
    meta = (tmp_path / "model.json").read_text(encoding="utf-8").replace('"content_ease"', '"cease"')
    old = json.loads(meta) | {"format_version": 1}
    old["item_ids"][0] = "cease"
    (tmp_path / "model.json").write_text(json.dumps(old), encoding="utf-8")
    loaded = FittedRanker.load(tmp_path)
    assert loaded.item_ids[0] == "cease"
    assert list(loaded.sources) == list(ranker.sources)
    np.testing.assert_array_equal(loaded.score(board.train.histories()), ranker.score(board.train.histories()))
