"""Lists agree with the definitions on hundreds of random cases, and with small ones worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import Candidates, ItemFacts, RerankedLists, UserFacts
from mmrec_lib.reranking.rerank import build_reranker
from tests.unit.reranking.reference import check_greedy, choices

NUM_ITEMS, NUM_USERS = 30, 6


def random_items(rng: np.random.Generator) -> ItemFacts:
    vectors = rng.normal(size=(NUM_ITEMS, int(rng.integers(1, 9))))
    vectors[rng.random(NUM_ITEMS) < 0.2] = 0
    copied = rng.integers(0, NUM_ITEMS, 6)
    vectors[copied[:3]] = vectors[copied[3:]]
    categories = rng.random((NUM_ITEMS, 4)) < 0.35
    categories[0, 0] = True
    brands = rng.integers(-1, 4, NUM_ITEMS)
    brands[0] = 0
    groups = rng.integers(-1, 8, NUM_ITEMS) if rng.random() < 0.7 else np.full(NUM_ITEMS, -1)
    return ItemFacts.of(
        NUM_ITEMS,
        vectors=vectors.astype(np.float32),
        categories=sparse.csr_matrix(categories.astype(np.float32)),
        brands=brands,
        is_new=rng.random(NUM_ITEMS) < 0.3,
        duplicate_group=groups,
        category_names=("a", "b", "c", "d"),
        brand_names=("w", "x", "y", "z"),
    )


def random_candidates(rng: np.random.Generator) -> Candidates:
    width = int(rng.choice([1, 2, 9, 15]))
    indices = np.argsort(rng.random((NUM_USERS, NUM_ITEMS)), axis=1)[:, :width].astype(np.int32)
    # Few distinct scores, so that ties are frequent; sometimes all are equal.
    scores = rng.integers(0, int(rng.choice([1, 4, 1000])), (NUM_USERS, width)) / 8
    scores = -np.sort(-scores.astype(np.float32), axis=1)
    is_padding = np.arange(width)[None, :] >= rng.integers(0, width + 1, NUM_USERS)[:, None]
    return Candidates(
        np.where(is_padding, -1, indices).astype(np.int32), np.where(is_padding, -np.inf, scores).astype(np.float32)
    )


def random_users(rng: np.random.Generator) -> UserFacts:
    history = rng.integers(1, 4, (NUM_USERS, NUM_ITEMS)) * (rng.random((NUM_USERS, NUM_ITEMS)) < 0.15)
    history[0] = 0
    return UserFacts(sparse.csr_matrix(history.astype(np.float32)), np.arange(NUM_USERS, dtype=np.uint64))


def random_quotas(rng: np.random.Generator) -> list[dict[str, Any]]:
    kinds: list[dict[str, Any]] = [
        {"by": "category", "at_most": int(rng.integers(0, 3))},
        {"by": "brand", "at_most": 1, "first": 3},
        {"by": "brand", "name": "x", "at_most": 0},
        {"by": "new", "at_least": int(rng.integers(1, 5))},
        {"by": "category", "name": "b", "at_least": 2, "first": int(rng.integers(2, 5))},
        {"by": "category", "name": "c", "at_least": 1, "at_most": 2, "first": 4},
        {"by": "new", "at_most": 1},
    ]
    chosen = rng.permutation(len(kinds))[: int(rng.integers(1, 5))]
    return [kinds[n] for n in chosen]


def reranked(
    config: RerankingConfig, candidates: Candidates, items: ItemFacts, users: UserFacts, k: int
) -> RerankedLists:
    reranker = build_reranker(config, num_threads=1)
    assert reranker is not None
    return reranker(candidates, items, users, k)


STEPS: dict[str, dict[str, Any]] = {
    "mmr": {"diversity": {"kind": "mmr", "strength": 0.4}},
    "mmr alone": {"diversity": {"kind": "mmr", "strength": 1.0}},
    "dpp": {"diversity": {"kind": "dpp", "strength": 0.4}},
    "dpp alone": {"diversity": {"kind": "dpp", "strength": 1.0}, "relevance": "rank"},
    "calibration": {"calibration": {"strength": 0.5}},
    "calibration alone": {"calibration": {"strength": 1.0}, "relevance": "score"},
    "duplicates": {"duplicates": {}},
    "quotas": {},
    "strict quotas": {"fill": False},
    "mmr, calibration, duplicates": {"diversity": {"kind": "mmr"}, "calibration": {}, "duplicates": {}},
    "everything": {"diversity": {"kind": "dpp"}, "calibration": {}, "duplicates": {}},
}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", STEPS)
def test_lists_are_the_greedy_ones_of_the_definition(name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *name.encode()])
    items, candidates, users = random_items(rng), random_candidates(rng), random_users(rng)
    quotas = random_quotas(rng) if "quotas" in name or name == "everything" else []
    config = RerankingConfig.model_validate({**STEPS[name], "quotas": quotas})
    k = int(rng.choice([1, 5, 20]))
    lists = reranked(config, candidates, items, users, k)
    assert lists.indices.shape == lists.scores.shape == (NUM_USERS, k)
    for user, choice in enumerate(choices(config, candidates, items, users, k)):
        listed = lists.indices[user][lists.indices[user] >= 0].tolist()
        assert (lists.indices[user][len(listed) :] == -1).all()
        assert len(set(listed)) == len(listed)
        of_item = dict(zip(candidates.indices[user].tolist(), candidates.scores[user].tolist(), strict=True))
        assert lists.scores[user].tolist() == [of_item[n] for n in listed] + [-np.inf] * (k - len(listed))
        check_greedy(choice, listed)


def one_user(scores: list[float]) -> Candidates:
    return Candidates(np.arange(len(scores), dtype=np.int32)[None], np.array([scores], np.float32))


def someone(num_items: int, history: list[int] = ()) -> UserFacts:  # type: ignore[assignment]
    row = np.zeros((1, num_items), np.float32)
    row[0, list(history)] = 1
    return UserFacts(sparse.csr_matrix(row), np.zeros(1, np.uint64))


@pytest.mark.parametrize("step", [s for n, s in STEPS.items() if "quotas" not in n])
def test_equal_gains_keep_the_order_of_the_candidates(step: dict[str, Any]) -> None:
    items = ItemFacts.of(
        6, vectors=np.ones((6, 3), np.float32), categories=sparse.csr_matrix(np.ones((6, 1))), category_names=("a",)
    )
    lists = reranked(RerankingConfig.model_validate(step), one_user([1.0] * 6), items, someone(6, [0]), 6)
    # By rank the scores differ, and the order is the same.
    assert lists.indices.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_mmr_worked_out_by_hand() -> None:
    # Item 1 is item 0 again; item 2 is orthogonal. lambda 0.5: 0.5 * 0.9 - 0.5 * 1 < 0.5 * 0 - 0.5 * 0.
    items = ItemFacts.of(3, vectors=np.array([[1, 0], [2, 0], [0, 1]], np.float32))
    config = RerankingConfig.model_validate({"diversity": {"kind": "mmr", "strength": 0.5}})
    assert reranked(config, one_user([1.0, 0.9, 0.0]), items, someone(3), 3).indices.tolist() == [[0, 2, 1]]


def test_dpp_chooses_the_largest_determinant() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(12, 5)).astype(np.float32)
    items = ItemFacts.of(12, vectors=vectors)
    config = RerankingConfig.model_validate({"diversity": {"kind": "dpp", "strength": 0.5}, "relevance": "score"})
    scores = -np.sort(-rng.random(12)).astype(np.float32)
    found = reranked(config, one_user(scores.tolist()), items, someone(12), 4).indices[0].tolist()
    unit = items.vectors.astype(np.float64)
    # theta = 0.5 of the paper: q_i = exp(score_i / 2), L = diag(q) S diag(q).
    quality = np.exp(scores.astype(np.float64) / 2)
    kernel = quality[:, None] * (unit @ unit.T) * quality[None, :]
    listed: list[int] = []
    for _ in range(4):
        gains = {n: np.linalg.det(kernel[np.ix_([*listed, n], [*listed, n])]) for n in range(12) if n not in listed}
        listed.append(max(gains, key=lambda n: gains[n]))
    assert found == listed


def test_a_calibrated_list_follows_the_history() -> None:
    # Candidates of category a are better, but 7 of 10 items of the history are of b.
    categories = np.zeros((20, 2))
    categories[:10, 0] = categories[10:, 1] = 1
    items = ItemFacts.of(20, categories=sparse.csr_matrix(categories), category_names=("a", "b"))
    config = RerankingConfig.model_validate({"calibration": {"strength": 0.99}})
    users = someone(20, [0, 1, 2, 10, 11, 12, 13, 14, 15, 16])
    lists = reranked(config, one_user(list(np.linspace(1, 0, 20))), items, users, 10)
    assert int((lists.indices < 10).sum()) == 3


def test_quotas_worked_out_by_hand() -> None:
    items = ItemFacts.of(
        6, brands=np.array([0, 0, 0, 1, 1, -1]), is_new=np.array([0, 0, 0, 0, 1, 1], bool), brand_names=("a", "b")
    )
    candidates = one_user([6, 5, 4, 3, 2, 1])

    def listed(k: int, fill: bool, *quotas: dict[str, Any]) -> list[int]:
        config = RerankingConfig.model_validate({"quotas": quotas, "fill": fill})
        return reranked(config, candidates, items, someone(6), k).indices[0].tolist()

    assert listed(4, True, {"by": "brand", "at_most": 1}) == [0, 3, 5, 1]
    assert listed(4, False, {"by": "brand", "at_most": 1}) == [0, 3, 5, -1]
    assert listed(4, True, {"by": "brand", "at_most": 1, "first": 2}) == [0, 3, 1, 2]
    assert listed(3, True, {"by": "new", "at_least": 2}) == [0, 4, 5]
    assert listed(3, True, {"by": "new", "at_least": 1, "first": 2}) == [0, 4, 1]
    assert listed(4, True, {"by": "brand", "name": "b", "at_least": 1}) == [0, 1, 2, 3]


def test_quotas_that_contradict_leave_a_full_list() -> None:
    items = ItemFacts.of(4, brands=np.array([0, 0, 0, 0]), is_new=np.array([1, 1, 1, 0], bool), brand_names=("a",))
    quotas = [{"by": "brand", "name": "a", "at_most": 0}, {"by": "new", "at_least": 3}, {"by": "new", "at_most": 1}]
    lists = reranked(RerankingConfig.model_validate({"quotas": quotas}), one_user([4, 3, 2, 1]), items, someone(4), 4)
    assert sorted(lists.indices[0].tolist()) == [0, 1, 2, 3]


def test_a_group_of_duplicates_is_shown_once_by_its_best() -> None:
    items = ItemFacts.of(5, duplicate_group=np.array([0, 1, 0, 1, -1]))
    config = RerankingConfig.model_validate({"duplicates": {}})
    assert reranked(config, one_user([5, 4, 3, 2, 1]), items, someone(5), 4).indices.tolist() == [[0, 1, 4, -1]]


def test_lists_do_not_depend_on_blocks_or_threads() -> None:
    rng = np.random.default_rng(0)
    items, n = random_items(rng), 300
    indices = np.argsort(rng.random((n, NUM_ITEMS)), axis=1)[:, :20].astype(np.int32)
    candidates = Candidates(indices, -np.sort(-rng.random((n, 20)).astype(np.float32), axis=1))
    history = sparse.csr_matrix((rng.random((n, NUM_ITEMS)) < 0.2).astype(np.float32))
    users = UserFacts(history, rng.integers(0, 2**62, n).astype(np.uint64))
    config = RerankingConfig.model_validate(
        {**STEPS["everything"], "second_stage": {}, "exploration": {"slots": [2, 5], "epsilon": 0.5}}
    )
    whole = build_reranker(config, num_threads=3)(candidates, items, users, 10)  # type: ignore[misc]
    for part in (slice(0, 1), slice(1, 130), slice(130, 300)):
        some = reranked(
            config,
            Candidates(candidates.indices[part], candidates.scores[part]),
            items,
            UserFacts(users.history[part], users.seeds[part]),
            10,
        )
        assert some.indices.tolist() == whole.indices[part].tolist()
        assert some.scores.tolist() == whole.scores[part].tolist()
        assert some.propensity is not None and whole.propensity is not None
        assert some.propensity.tolist() == whole.propensity[part].tolist()


def test_nothing_is_built_where_nothing_is_on() -> None:
    assert build_reranker(RerankingConfig()) is None


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"diversity": {"kind": "mmr"}}, "no content vectors"),
        ({"second_stage": {}}, "no content vectors"),
        ({"calibration": {}}, "no item has a category"),
        ({"quotas": [{"by": "brand", "at_most": 1}]}, "no item has a brand"),
        ({"quotas": [{"by": "category", "name": "shoe", "at_most": 1}]}, "no item has a category"),
    ],
)
def test_a_step_without_its_facts_is_refused(step: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        reranked(RerankingConfig.model_validate(step), one_user([1.0]), ItemFacts.of(1), someone(1), 1)


def test_an_unknown_name_of_a_quota_is_refused_with_the_nearest() -> None:
    items = ItemFacts.of(1, categories=sparse.csr_matrix([[1.0]]), category_names=("shoes",))
    config = RerankingConfig.model_validate({"quotas": [{"by": "category", "name": "shoe", "at_most": 1}]})
    with pytest.raises(ModelError, match="did you mean 'shoes'"):
        reranked(config, one_user([1.0]), items, someone(1), 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quotas": [{"by": "brand"}]},
        {"quotas": [{"by": "brand", "at_least": 1}]},
        {"quotas": [{"by": "new", "name": "x", "at_most": 1}]},
        {"quotas": [{"by": "new", "at_least": 3, "at_most": 2}]},
        {"quotas": [{"by": "new", "at_least": 3, "first": 2}]},
        {"diversity": {"kind": "mmr", "strength": 0.7}, "calibration": {"strength": 0.4}},
        {"exploration": {"slots": []}},
        {"exploration": {"slots": [0]}},
        {"exploration": {"slots": [2, 2]}},
        {"exploration": {"epsilon": 1.0}},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"quota|strengths|slots|epsilon"):
        RerankingConfig.model_validate(wrong)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_candidates": 500}, "num_candidates has an effect only beside a step, got 500"),
        ({"relevance": "rank"}, "relevance has an effect only beside diversity or calibration, got 'rank'"),
        ({"relevance": "score", "duplicates": {}}, "relevance has an effect only beside diversity or calibration"),
        ({"fill": False, "duplicates": {}}, "fill has an effect only beside quotas, got False"),
        ({"quotas": [{"by": "new", "at_most": 3, "first": 3}]}, "at_most has an effect only below first, got 3 and 3"),
    ],
)
def test_settings_without_effect_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RerankingConfig.model_validate(wrong)


@pytest.mark.parametrize(
    ("step", "least", "sentence"),
    [
        ({"exploration": {"slots": [2, 6]}}, 6, r"slots: places of 1 to scoring.k = 5 are needed, got \[6\]"),
        (
            {"quotas": [{"by": "new", "at_most": 1, "first": 6}]},
            6,
            "first must be at most 5 for lists of scoring.k = 5",
        ),
        ({"quotas": [{"by": "new", "at_least": 6}]}, 6, "by new: at_least must be at most 5"),
        ({"quotas": [{"by": "brand", "at_most": 5}]}, 6, "by brand: at_most must be at most 4 .* any effect, got 5"),
    ],
)
def test_places_beyond_the_end_of_lists_are_refused(step: dict[str, Any], least: int, sentence: str) -> None:
    config = RerankingConfig.model_validate(step)
    config.check_length(least)
    with pytest.raises(ValueError, match=sentence):
        config.check_length(least - 1)
