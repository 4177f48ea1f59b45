from __future__ import annotations

from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.embedding.quantization_loss import quantization_loss
from mmrec_lib.embedding.vector_codec import Storage, dequantize, quantize

FLOATS = pa.list_(pa.float32())
STORAGES: tuple[Storage, ...] = get_args(Storage)
LARGEST = float(np.finfo(np.float32).max)


def quantized(vectors: list[list[float] | None], storage: Storage) -> dict[str, list[object]]:
    return {name: column.to_pylist() for name, column in quantize(pa.array(vectors, FLOATS), storage).items()}


def test_float32_is_kept_as_it_is() -> None:
    assert quantized([[0.1, 70000.0], None], "float32") == {
        "vector": [[pytest.approx(0.1, abs=1e-8), 70000.0], None],
        "codes": [None, None],
        "scale": [None, None],
        "storage": ["float32", None],
    }


def test_float16_rounds_each_number_half_to_even_and_leaves_what_it_cannot_hold() -> None:
    step = 2.0**-10  # Between halves from 1 to 2.
    vectors = [[1.0 + step / 2, 1.0 + 3 * step / 2], [65504.0, 1.0 + step / 2], [65520.0, 1.0 + step / 2], None, []]
    assert quantized(vectors, "float16") == {
        "vector": [[1.0, 1.0 + 2 * step], [65504.0, 1.0], [65520.0, 1.0 + step / 2], None, []],
        "codes": [None] * 5,
        "scale": [None] * 5,
        "storage": ["float16", "float16", "float32", None, "float16"],
    }


def test_int8_has_codes_and_a_scale_such_that_the_largest_magnitude_is_127() -> None:
    vectors = [[127.0, -126.5, 2.5, 0.0], None, [-2.0, 1.01], [0.0, 0.0], [float("inf"), 1.0], [LARGEST, 0.0]]
    made = quantized(vectors, "int8")
    assert made["codes"] == [[127, -126, 2, 0], None, [-127, 64], [0, 0], None, None]
    assert made["scale"] == [1.0, None, float(np.float32(2.0) / np.float32(127)), 0.0, None, None]
    assert made["vector"] == [None, None, None, None, [float("inf"), 1.0], [LARGEST, 0.0]]
    assert made["storage"] == ["int8", None, "int8", "int8", "float32", "float32"]


def test_codes_of_the_least_numbers_stay_within_range() -> None:
    least = float(np.finfo(np.float32).smallest_subnormal)
    vectors = pa.array([[least * 180, -least * 180], [least, 0.0], [LARGEST / 2, -LARGEST / 2]], FLOATS)
    back = dequantize(quantize(vectors, "int8")).to_pylist()
    assert back[0][0] == -back[0][1] > 0
    assert back[1] == [0.0, 0.0]
    assert back[2][0] == pytest.approx(LARGEST / 2, rel=1e-6) and back[2][1] == -back[2][0]


@pytest.mark.parametrize("storage", STORAGES)
def test_what_readers_get_is_near_and_does_not_depend_on_the_batch(storage: Storage) -> None:
    rng = np.random.default_rng(3)
    vectors = [rng.normal(size=n).astype(np.float32).tolist() if n else None for n in (5, 0, 3, 300, 5)]
    whole = pa.array(vectors, FLOATS)
    columns = quantize(whole, storage)
    assert len({len(column) for column in columns.values()}) == 1
    back = dequantize(columns).to_pylist()
    for row, vector in enumerate(vectors):
        alone = quantize(whole.slice(row, 1), storage)
        assert dequantize(alone).to_pylist() == [back[row]]
        if vector is None:
            assert back[row] is None
            continue
        largest = max(map(abs, vector))
        error = {"float32": 0.0, "float16": largest * 2.0**-11, "int8": largest / 127 / 2}[storage]
        assert np.abs(np.array(back[row]) - np.array(vector)).max() <= error * (1 + 1e-5)


def test_unpacking_joins_rows_of_both_forms() -> None:
    vectors = pa.array([[1.0, -1.0], [float("inf")], None, [0.5]], FLOATS)
    back = dequantize(quantize(vectors, "int8")).to_pylist()
    assert back == [pytest.approx([1.0, -1.0]), [float("inf")], None, pytest.approx([0.5])]


def test_no_rows_are_no_rows() -> None:
    for storage in STORAGES:
        assert len(dequantize(quantize(pa.array([], FLOATS), storage))) == 0


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
