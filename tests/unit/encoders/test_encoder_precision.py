from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mmrec_lib.encoders import precision
from mmrec_lib.encoders.backend import Run
from mmrec_lib.encoders.precision import (
    Sample,
    calibration_pictures,
    calibration_texts,
    choose_run,
    has_native_bfloat16,
    judge,
    same_class_share,
)
from mmrec_lib.encoders.spec import EncoderInput
from mmrec_lib.media.images import decode_image

LABELS = ["a", "a", "b", "b"]
VECTORS = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)


class Fake:
    """A network whose results in bfloat16 are turned by an angle."""

    def __init__(self, degrees: float) -> None:
        self.turn = np.deg2rad(degrees)
        self.made: list[torch.dtype] = []

    def at(self, dtype: torch.dtype) -> Run:
        self.made.append(dtype)
        angle = self.turn if dtype == torch.bfloat16 else 0.0
        turned = VECTORS @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
        return lambda *_: turned


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "machine_cache", lambda: tmp_path)
    monkeypatch.setattr(precision, "fast_dtype", lambda device: torch.bfloat16)


def choose(network: Fake, dtype: str = "auto") -> Run:
    def encode(run: Run, inputs: Sequence[EncoderInput]) -> npt.NDArray[np.float32]:
        return run()

    return choose_run(network, dtype, "cpu", key="k", sample=lambda: Sample(["x"] * 4, LABELS), encode=encode)


def test_fast_arithmetic_is_taken_when_vectors_stay(caplog: pytest.LogCaptureFixture) -> None:
    network = Fake(1.0)
    assert np.array_equal(choose(network)(), network.at(torch.bfloat16)())
    assert not caplog.records


def test_fast_arithmetic_that_moves_vectors_is_refused_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    network = Fake(12.0)  # the cosine of 12 degrees is .978
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(choose(network)(), VECTORS)
    assert "model k computes in float32" in caplog.text and "0.978" in caplog.text


def test_a_verdict_is_reached_once_a_machine() -> None:
    choose(Fake(12.0))
    again = Fake(12.0)
    choose(again)
    assert again.made == [torch.float32]


def test_a_configured_format_is_not_judged() -> None:
    network = Fake(12.0)
    choose(network, "bfloat16")
    assert network.made == [torch.bfloat16]


def test_neighbours_that_change_class_count_as_loss() -> None:
    assert same_class_share(VECTORS, LABELS) == 1.0
    mixed = VECTORS[[0, 2, 1, 3]]
    assert same_class_share(mixed, LABELS) == 0.0
    verdict = judge(VECTORS, mixed, LABELS)
    assert verdict.class_loss == 1.0 and not verdict.is_good


def test_calibration_samples_are_whole() -> None:
    texts, pictures = calibration_texts(), calibration_pictures()
    assert len(texts.inputs) == len(set(texts.inputs)) == len(texts.labels) == 100
    assert len(pictures.inputs) == len(pictures.labels) == 100 and len(set(pictures.labels)) == 10
    first = pictures.inputs[0]
    assert isinstance(first, bytes) and min(decode_image(first).shape[:2]) == 192


def test_bfloat16_is_known_from_the_flags_of_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags : fpu avx2 avx512_bf16\n", encoding="utf-8")
    assert has_native_bfloat16(cpuinfo)
    assert not has_native_bfloat16(tmp_path / "absent")
