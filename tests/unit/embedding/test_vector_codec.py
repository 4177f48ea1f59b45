from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.quantization_loss import quantization_loss
from mmrec_lib.embedding.vector_codec import quantize

FLOATS = pa.list_(pa.float32())


def test_float16_rounds_each_number_half_to_even_and_leaves_what_it_cannot_hold() -> None:
    step = 2.0**-10  # Between halves from 1 to 2.
    vectors = [
        [1.0 + step / 2, 1.0 + 3 * step / 2],
        [65504.0, 1.0 + step / 2],
        [65520.0, 1.0 + step / 2],
        None,
        [],
        [1.0, float("inf")],
        [0.0, -1.0 - step / 2],
    ]
    made = quantize(pa.array(vectors, FLOATS))
    assert {name: column.to_pylist() for name, column in made.items()} == {
        "vector": [
            [1.0, 1.0 + 2 * step],
            [65504.0, 1.0],
            [65520.0, 1.0 + step / 2],
            None,
            [],
            [1.0, float("inf")],
            [0.0, -1.0],
        ],
        "storage": ["float16", "float16", "float32", None, "float16", "float32", "float16"],
    }


def test_what_readers_get_is_near_and_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(3)
    vectors = [rng.normal(size=n).astype(np.float32).tolist() if n else None for n in (5, 0, 3, 300, 5)]
    whole = pa.array(vectors, FLOATS)
    columns = quantize(whole)
    assert columns["vector"].type == FLOATS
    for row, vector in enumerate(vectors):
        alone = quantize(whole.slice(row, 1))
        assert {name: column.to_pylist() for name, column in alone.items()} == {
            name: [column[row].as_py()] for name, column in columns.items()
        }
        if vector is None:
            assert columns["vector"][row].as_py() is None
            continue
        exact, rounded = np.array(vector), np.array(columns["vector"][row].as_py())
        assert 0 < np.abs(rounded - exact).max() <= np.abs(exact).max() * 2.0**-11


def test_no_rows_are_no_rows() -> None:
    assert {name: len(column) for name, column in quantize(pa.array([], FLOATS)).items()} == {"vector": 0, "storage": 0}


def test_a_removed_format_is_refused_with_the_one_to_write() -> None:
    with pytest.raises(ValidationError, match=r"format `int8` was removed.*write `float16`"):
        EmbeddingConfig.model_validate({"storage": "int8"})
    assert EmbeddingConfig.model_validate({"storage": "float16"}).storage == "float16"


def test_retrieval_loss_counts_the_neighbours_that_are_kept() -> None:
    angles = np.arange(12) ** 1.5 * 0.05
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    same = quantization_loss(circle, 3 * circle)
    assert same is not None and same.recall == 1.0 and same.mean_cosine == pytest.approx(1.0)
    # One vector turned round: of the 12 lists of 10 of 11 others, its own and those that it now leaves or joins change.
    turned = circle.copy()
    turned[0] *= -1
    worse = quantization_loss(circle, turned)
    assert worse is not None and 0.8 < worse.recall < 1.0
    assert worse.mean_cosine == pytest.approx(10 / 12, abs=1e-6)


def test_few_vectors_tell_nothing_and_zeros_do_not_count() -> None:
    few = np.eye(11, dtype=np.float32)
    assert quantization_loss(few, few) is None
    assert quantization_loss(np.vstack([few, 0 * few]), np.vstack([few, 0 * few])) is None
    assert quantization_loss(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)) is None
    loss = quantization_loss(np.vstack([few, few[:1], 0 * few]), np.vstack([few, few[:1], 0 * few]))
    assert loss is not None and (loss.recall, loss.num_vectors) == (1.0, 12)
