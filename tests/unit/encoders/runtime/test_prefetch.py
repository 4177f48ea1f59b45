from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.runtime import prefetch
from mmrec_lib.encoders.runtime.prefetch import map_ahead, map_batches
from mmrec_lib.encoders.spec import EncoderInput
from tests.unit.encoders.tiny_models import WORDS, image_bytes


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4), st.integers(1, 5))
@settings(deadline=None)
def test_results_are_those_of_map_in_order(items: list[int], num_threads: int, num_ahead: int) -> None:
    assert list(map_ahead(lambda x: x * 2, items, num_threads, num_ahead)) == [x * 2 for x in items]


def test_no_more_is_taken_ahead_than_allowed() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = map_ahead(lambda x: x, source(), 2, num_ahead=5)
    for _ in range(3):
        next(results)
    assert taken <= 8
    results.close()  # type: ignore[attr-defined]


def test_error_comes_where_its_result_would_have() -> None:
    def fail_on_two(x: int) -> int:
        if x == 2:
            raise ValueError("two")
        return x

    results = map_ahead(fail_on_two, range(5), 2, 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_work_is_done_while_the_caller_waits() -> None:
    done = threading.Event()

    def work(x: int) -> int:
        if x == 1:
            done.set()
        return x

    results = map_ahead(work, range(3), 1, 2)
    next(results)
    assert done.wait(timeout=10)


def test_a_gpu_has_two_batches_at_once_and_a_processor_one() -> None:
    both = threading.Barrier(2)
    assert list(map_batches(lambda x: both.wait(timeout=10) * 0 + x, range(4), "cuda:1")) == [0, 1, 2, 3]
    assert set(map_batches(lambda _: threading.current_thread(), range(4), "cpu")) == {threading.current_thread()}


@pytest.mark.parametrize(
    ("name", "batch_size", "batch"),
    [
        ("tiny-text", {"batch_tokens": 16}, [*WORDS, " ".join(WORDS), "", " ".join(WORDS * 3)]),
        (
            "tiny-image",
            {"batch_images": 2},
            [*(image_bytes(seed) for seed in range(9)), b"no image", image_bytes(0)],
        ),
    ],
)
def test_batches_side_by_side_give_the_same_vectors(
    tiny_models: ModelsConfig,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    batch_size: dict[str, int],
    batch: list[EncoderInput],
) -> None:
    config = tiny_models.encoders[name].model_copy(update=batch_size)
    encoder = make_encoder(config, tiny_models)
    encoder.load()
    alone = encoder.encode(batch)
    monkeypatch.setitem(prefetch._BATCHES_AT_ONCE, "cpu", 2)
    beside = encoder.encode(batch)
    assert beside.errors == alone.errors
    assert np.array_equal(beside.vectors, alone.vectors)
    assert sum(error is None for error in alone.errors) == len(batch) - 1
