from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mmrec_lib.encoders.runtime import machine_cache as memory
from mmrec_lib.encoders.runtime import precision
from mmrec_lib.encoders.runtime.backend import InferenceFn
from mmrec_lib.encoders.runtime.precision import (
    Sample,
    calibration_images,
    calibration_texts,
    choose_run,
    compute_dtype,
    judge,
    same_class_share,
)
from mmrec_lib.encoders.spec import EncoderInput
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.images import decode_image
from mmrec_lib.processor import has_native

LABELS = ["a", "a", "b", "b"]
VECTORS = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)


class Fake:
    """A network whose results in faster formats are turned by an angle."""

    can_quantise = True

    def __init__(self, degrees: float, quantised_degrees: float = 30.0) -> None:
        self.turn = {"bfloat16": np.deg2rad(degrees), "int8": np.deg2rad(quantised_degrees)}
        self.made: list[str] = []

    def compile(self, dtype: str) -> InferenceFn:
        self.made.append(dtype)
        angle = self.turn.get(dtype, 0.0)
        turned = VECTORS @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
        return lambda *_: turned


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_cache", lambda: tmp_path)
    monkeypatch.setattr(precision, "has_native", lambda flags: True)


def encode(run: InferenceFn, inputs: Sequence[EncoderInput] = ()) -> npt.NDArray[np.float32]:
    return run()


def choose(network: Fake, dtype: str = "auto") -> InferenceFn:
    return choose_run(network, dtype, "cpu", key="k", sample=lambda: Sample(["x"] * 4, LABELS), encode=encode)


def test_fast_arithmetic_is_taken_when_vectors_stay(caplog: pytest.LogCaptureFixture) -> None:
    network = Fake(1.0, quantised_degrees=1.0)
    assert np.array_equal(choose(network)(), network.compile("int8")())
    assert not caplog.records


def test_the_next_format_is_taken_when_the_fastest_loses(caplog: pytest.LogCaptureFixture) -> None:
    network = Fake(1.0)
    with caplog.at_level(logging.INFO):
        assert np.array_equal(choose(network)(), network.compile("bfloat16")())
    assert "model k does not compute in int8" in caplog.text


def test_fast_arithmetic_that_moves_vectors_is_refused_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    network = Fake(12.0)  # the cosine of 12 degrees is .978
    with caplog.at_level(logging.INFO):
        assert np.array_equal(choose(network)(), VECTORS)
    assert "model k does not compute in bfloat16" in caplog.text and "0.978" in caplog.text


def test_a_verdict_is_reached_and_logged_as_information_once_a_machine(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        choose(Fake(12.0))
        again = Fake(12.0)
        choose(again)
    assert again.made == ["float32"]
    said = [record.levelname for record in caplog.records if "model k does not compute in bfloat16" in record.message]
    assert said == ["INFO"]


def test_a_configured_format_is_not_judged() -> None:
    network = Fake(12.0)
    choose(network, "bfloat16")
    assert network.made == ["bfloat16"]


def test_a_format_that_a_kind_cannot_compute_in_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"kind speech.*got int8"):
        compute_dtype("int8", "speech", "cpu")


def test_neighbours_that_change_class_count_as_loss() -> None:
    assert same_class_share(VECTORS, LABELS) == 1.0
    mixed = VECTORS[[0, 2, 1, 3]]
    assert same_class_share(mixed, LABELS) == 0.0
    verdict = judge(VECTORS, mixed, LABELS)
    assert verdict.class_loss == 1.0 and not verdict.is_good


def test_calibration_samples_are_whole() -> None:
    texts, images = calibration_texts(), calibration_images()
    assert len(texts.inputs) == len(set(texts.inputs)) == len(texts.labels) == 100
    assert len(images.inputs) == len(images.labels) == 100 and len(set(images.labels)) == 10
    first = images.inputs[0]
    assert isinstance(first, bytes) and min(decode_image(first).shape[:2]) == 192


def test_native_formats_are_known_from_the_flags_of_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags : fpu avx2 avx512_bf16\n", encoding="utf-8")
    assert has_native(frozenset({"avx512_bf16", "amx_bf16"}), cpuinfo)
    assert not has_native(frozenset({"avx512_vnni"}), cpuinfo)
    assert not has_native(frozenset({"avx2"}), tmp_path / "absent")
