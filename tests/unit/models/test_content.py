from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import ColdItemSettings
from mmrec_lib.models.data import Content
from mmrec_lib.models.sources.cold_items import ColdItemModel
from mmrec_lib.models.sources.content import BlockTransform, ContentFeatures


def blocks(seed: int = 0, num_items: int = 30) -> dict[str, Content]:
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((num_items, 6))
    vectors[4] = 0
    words = [[f"w{word}" for word in generator.integers(0, 9, 3)] for _ in range(num_items)]
    words[5] = []
    return {
        "text:title": Content.from_vectors("text:title", vectors),
        "graph:has": Content.from_tokens("graph:has", words),
    }


def test_rows_have_length_1_and_missing_ones_length_0() -> None:
    features = ContentFeatures.learn(blocks())
    dense = np.linalg.norm(features.rows["text:title"], axis=1)
    tokens = np.asarray(sparse.linalg.norm(features.rows["graph:has"], axis=1))
    assert dense[4] == 0
    assert tokens[5] == 0
    np.testing.assert_allclose(np.delete(dense, 4), 1, rtol=1e-5)
    np.testing.assert_allclose(np.delete(tokens, 5), 1, rtol=1e-5)


def test_dense_rows_are_centred_over_the_items_that_have_them() -> None:
    content = Content.from_vectors("v", [[1.0, 3.0], [3.0, 1.0], [0.0, 0.0]])
    rows = BlockTransform.learn(content).apply(content)
    np.testing.assert_allclose(rows, np.array([[-1, 1], [1, -1], [0, 0]]) / np.sqrt(2), atol=1e-6)


def test_rare_tokens_weigh_more_than_common_ones() -> None:
    content = Content.from_tokens("t", [["all", "rare"], ["all"], ["all"], ["all"]])
    rows = BlockTransform.learn(content).apply(content).toarray()
    assert rows[0, content.tokens.index("rare")] > rows[0, content.tokens.index("all")]


def test_a_token_named_twice_counts_once() -> None:
    assert Content.from_tokens("t", [["a", "a", "b"]]).matrix.toarray().tolist() == [[1.0, 1.0]]


def test_kernel_is_the_weighted_sum_of_its_blocks() -> None:
    features = ContentFeatures.learn(blocks())
    everything = np.ones(30, dtype=bool)
    total = features.kernel({"text:title": 2.0}, everything, everything)
    parts = [features.block_kernel(name, everything, everything) for name in ("graph:has", "text:title")]
    np.testing.assert_allclose(total, parts[0] + 2 * parts[1], atol=1e-6)
    assert features.kernel({"text:title": 0.0, "graph:has": 0.0}, everything, everything) is None


def test_a_block_of_another_kind_is_refused_by_name() -> None:
    made = blocks()
    with pytest.raises(ModelError, match="fitted as a dense block"):
        BlockTransform.learn(made["text:title"]).apply(made["graph:has"])


def test_kernel_and_gradient_solutions_agree() -> None:
    features = ContentFeatures.learn(blocks())
    warm = np.arange(30) < 25
    vectors = np.random.default_rng(1).standard_normal((25, 4)).astype(np.float32)
    settings = ColdItemSettings(weights={"graph:has": 2.0})
    exact = ColdItemModel.fit(features, warm, vectors, settings, max_dense_items=100)
    steps = ColdItemModel.fit(features, warm, vectors, settings, max_dense_items=10)
    for name in exact.coefficients:
        np.testing.assert_allclose(steps.coefficients[name], exact.coefficients[name], atol=2e-3)


def test_ridge_on_contents_recovers_what_contents_tell() -> None:
    generator = np.random.default_rng(2)
    vectors = generator.standard_normal((200, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    content = Content.from_vectors("v", vectors)
    target = (vectors @ generator.standard_normal((5, 3))).astype(np.float32)
    warm = np.arange(200) < 150
    features = ContentFeatures.learn({"v": content})
    model = ColdItemModel.fit(features, warm, target[warm], ColdItemSettings(regulariser=0.01), max_dense_items=500)
    found = model.vectors({"v": Content("v", "dense", vectors[~warm], content.has[~warm])}, 50)
    assert np.corrcoef(found.ravel(), target[~warm].ravel())[0, 1] > 0.98


def test_an_item_without_content_gets_the_mean() -> None:
    features = ContentFeatures.learn(blocks())
    warm = np.ones(30, dtype=bool)
    vectors = np.random.default_rng(3).standard_normal((30, 4)).astype(np.float32)
    model = ColdItemModel.fit(features, warm, vectors, ColdItemSettings(scale=2.0), max_dense_items=100)
    np.testing.assert_allclose(model.vectors({}, 1)[0], 2 * vectors.mean(axis=0), atol=1e-5)
