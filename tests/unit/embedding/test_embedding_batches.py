from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.embedding.batches import Rows, bounded, vector_array
from mmrec_lib.embedding.pooling import mean_of_runs
from mmrec_lib.embedding.texts import normalise

GROUP = ("item_id", "modality", "field", "encoder_id", "revision")


def batch_of(texts: list[str | None], start: int) -> pa.RecordBatch:
    ids = pa.array(range(start, start + len(texts)), pa.int64())
    return pa.RecordBatch.from_arrays([ids, pa.array(texts, pa.string())], names=["id", "text"])


@given(
    st.lists(st.lists(st.one_of(st.none(), st.text("ab", max_size=8)), max_size=6), max_size=6),
    st.integers(1, 20),
    st.integers(1, 5),
)
@settings(deadline=None)
def test_batches_are_bounded_and_lose_nothing(parts: list[list[str | None]], max_bytes: int, max_rows: int) -> None:
    starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    batches = [batch_of(part, start) for part, start in zip(parts, starts, strict=False)]
    out = list(bounded(iter(batches), "text", max_bytes, max_rows))
    assert [row for batch in out for row in batch.column("id").to_pylist()] == list(range(starts[-1]))
    for batch in out:
        sizes = [max_bytes if text is None else len(text) for text in batch.column("text").to_pylist()]
        assert 1 <= batch.num_rows <= max_rows
        assert sum(sizes) <= max_bytes or batch.num_rows == 1


def test_small_batches_are_joined() -> None:
    batches = [batch_of(["a"], index) for index in range(10)]
    assert [batch.num_rows for batch in bounded(batches, "text", 100, 100)] == [10]


def test_vector_array_is_null_where_not_valid() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert vector_array(vectors, [True, False, True]).to_pylist() == [[0.0, 1.0], None, [4.0, 5.0]]
    assert vector_array(np.zeros((0, 2), np.float32), []).to_pylist() == []
    assert vector_array(np.zeros((2, 0), np.float32), [False, False]).to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  a \t\n b  ", "a b"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("a\u00a0\u2003b\u3000", "a b"),
        (" \u2028 ", None),
        ("", None),
        (None, None),
        ("Straße", "Straße"),
    ],
)
def test_normal_form_of_texts(raw: str | None, expected: str | None) -> None:
    assert normalise(pa.array([raw], pa.string())).to_pylist() == [expected]


@given(st.text())
@settings(deadline=None)
def test_normal_form_is_its_own_normal_form(text: str) -> None:
    once = normalise(pa.array([text], pa.string()))
    assert normalise(once).to_pylist() == once.to_pylist()


def rows_of(groups: list[int], vectors: np.ndarray) -> pa.RecordBatch:
    names = [[f"item{group}" for group in groups], *([["x"] * len(groups)] * 4)]
    arrays = [pa.array(column, pa.string()) for column in names]
    return pa.RecordBatch.from_arrays([*arrays, vector_array(vectors, [True] * len(groups))], names=[*GROUP, "vector"])


@given(st.lists(st.integers(1, 5), max_size=8), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None)
def test_means_do_not_depend_on_where_batches_end(sizes: list[int], step: int, seed: int) -> None:
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    vectors = np.random.default_rng(seed).standard_normal((len(groups), 3)).astype(np.float32)
    cut = [rows_of(groups[i : i + step], vectors[i : i + step]) for i in range(0, len(groups), step)]
    out = pa.Table.from_batches(list(mean_of_runs(iter(cut)))) if groups else None
    whole = pa.Table.from_batches(list(mean_of_runs(iter([rows_of(groups, vectors)])))) if groups else None
    if out is None or whole is None:
        assert not list(mean_of_runs(iter(cut)))
        return
    assert out.to_pylist() == whole.to_pylist()
    assert out["num_contents"].to_pylist() == sizes
    for group, mean in enumerate(out["vector"].to_pylist()):
        assert np.allclose(mean, vectors[np.array(groups) == group].mean(axis=0), atol=1e-6)


def test_rows_are_read_one_by_one_and_missing_ones_elsewhere() -> None:
    column = pa.chunked_array([pa.array([b"a", None], pa.binary()), pa.array([b"c"], pa.binary())])
    asked = list[int]()

    def read(row: int) -> bytes:
        asked.append(row)
        return b"read"

    rows = Rows(column, read)
    assert (len(rows), rows[0], rows[-1], asked) == (3, b"a", b"c", [])
    assert list(rows) == rows[:] == [b"a", b"read", b"c"] and asked == [1, 1]
    assert list(Rows(column)) == [b"a", None, b"c"] and list(Rows(column)[1:]) == [None, b"c"]
