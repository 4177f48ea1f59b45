"""Choice of the dtype that a model computes in: the fastest that the hardware has, unless it costs quality."""

from __future__ import annotations

import functools
import json
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mmrec_lib.encoders.runtime.backend import InferenceFn, Network
from mmrec_lib.encoders.runtime.cosines import row_cosines
from mmrec_lib.encoders.runtime.int8_weights import RECIPE
from mmrec_lib.encoders.runtime.machine_cache import cached
from mmrec_lib.encoders.spec import EncoderInput
from mmrec_lib.errors import EncoderError
from mmrec_lib.processor import (
    NATIVE_BFLOAT16_FLAGS,
    NATIVE_INT8_FLAGS,
    has_native,
    processor_flags,
)

_log = logging.getLogger(__name__)

# What faster arithmetic may cost on the calibration sample.
LEAST_MEAN_COSINE = 0.998
LEAST_COSINE = 0.98
MOST_CLASS_LOSS = 0.01

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Sample:
    """Inputs of known classes.

    Attributes:
        inputs: Texts, or bytes of images.
        labels: The class of each.
    """

    inputs: Sequence[EncoderInput]
    labels: Sequence[str]


@dataclass(frozen=True)
class Verdict:
    """Cost of faster arithmetic on a calibration sample.

    Attributes:
        mean_cosine: Of vectors to those in float32.
        least_cosine: The worst of them.
        class_loss: By how much the share of nearest neighbours of the same class falls.
    """

    mean_cosine: float
    least_cosine: float
    class_loss: float

    @property
    def is_good(self) -> bool:
        """Tell if vectors and neighbours stay what they are."""
        return (
            self.mean_cosine > LEAST_MEAN_COSINE
            and self.least_cosine > LEAST_COSINE
            and self.class_loss <= MOST_CLASS_LOSS + 1e-9
        )


def choose_run(
    network: Network,
    dtype: str,
    device: str,
    *,
    key: str,
    sample: Callable[[], Sample],
    encode: Callable[[InferenceFn, Sequence[EncoderInput]], npt.NDArray[np.float32]],
) -> InferenceFn:
    """The function that computes a network in the dtype of a config's `dtype`.

    `auto` takes the fastest format that the hardware computes natively, when vectors of a calibration sample stay
    within the bounds of this module; else the next one, and the log says so. A verdict is remembered in the machine's
    temporary folder.

    Args:
        network: What is computed.
        dtype: auto, or a name of `DTYPES`.
        device: cpu, cuda or cuda:<number>.
        key: Identity of the model.
        sample: Gives the calibration sample.
        encode: Gives the vectors `[n, D]` of inputs through a function that computes the network.
    """

    def reach_verdict(dtype: str) -> Verdict:
        inputs = sample()
        slow_ND, fast_ND = (encode(network.compile(name), inputs.inputs) for name in ("float32", dtype))
        verdict = judge(slow_ND, fast_ND, inputs.labels)
        if not verdict.is_good:
            # Here, so that the machine says it once and not each of its workers.
            _log.info("model %s does not compute in %s, which costs too much: %s", key, dtype, verdict)
        return verdict

    if dtype != "auto":
        return network.compile(dtype)
    for faster in fast_dtypes(device, can_quantise=network.can_quantise):
        verdict = cached(Verdict, _circumstances(key, device, faster), functools.partial(reach_verdict, faster))
        if verdict.is_good:
            return network.compile(faster)
    return network.compile("float32")


def judge(slow_ND: npt.NDArray[np.float32], fast_ND: npt.NDArray[np.float32], labels: Sequence[str]) -> Verdict:
    """Compares vectors of the same inputs, `[n, D]` each."""
    cosines = row_cosines(slow_ND, fast_ND)
    loss = same_class_share(slow_ND, labels) - same_class_share(fast_ND, labels)
    return Verdict(float(cosines.mean()), float(cosines.min()), loss)


def same_class_share(vectors_ND: npt.NDArray[np.float32], labels: Sequence[str]) -> float:
    """Share of rows whose nearest other row by cosine has the same label."""
    normed = vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), np.float32(1e-12))
    cosines = normed @ normed.T
    np.fill_diagonal(cosines, -np.inf)
    names = np.asarray(labels)
    return float((names[cosines.argmax(axis=1)] == names).mean())


def calibration_texts() -> Sample:
    """100 sentences on ten topics."""
    topics = json.loads(_calibration_file("texts.json").decode())
    pairs = [(text, topic) for topic, texts in topics.items() for text in texts]
    return Sample([text for text, _ in pairs], [topic for _, topic in pairs])


def calibration_images() -> Sample:
    """100 photos of ten kinds of clothes (CC0)."""
    table = pq.read_table(pa.BufferReader(_calibration_file("images.parquet")))
    return Sample(table.column("content").to_pylist(), table.column("label").to_pylist())


def compute_dtype(dtype: str, kind: str, device: str) -> torch.dtype:
    """Dtype of models that have no calibration sample.

    `auto` is float32 on a processor, but for speech: there bfloat16, where the processor has it, writes as many wrong
    words in nearly half the time.

    Raises:
        EncoderError: When such a model cannot compute in the format.
    """
    if dtype != "auto":
        if dtype not in DTYPES:
            raise EncoderError(f"Models of kind {kind}: dtype auto, {', '.join(DTYPES)} is needed, got {dtype}.")
        return DTYPES[dtype]
    if device == "cpu" and kind != "speech":
        return torch.float32
    return DTYPES[(*fast_dtypes(device, can_quantise=False), "float32")[0]]


def fast_dtypes(device: str, *, can_quantise: bool) -> tuple[str, ...]:
    """Dtypes that a device computes faster than float32, the fastest first."""
    if device != "cpu":
        return ("bfloat16",) if torch.cuda.is_bf16_supported() else ("float16",)
    int8 = ("int8",) if can_quantise and has_native(NATIVE_INT8_FLAGS) else ()
    return (*int8, "bfloat16") if has_native(NATIVE_BFLOAT16_FLAGS) else int8


def _calibration_file(name: str) -> bytes:
    return resources.files("mmrec_lib.encoders").joinpath("calibration", name).read_bytes()


def _circumstances(key: str, device: str, dtype: str) -> list[str | None]:
    """Circumstances that a verdict depends on."""
    hardware = " ".join(processor_flags()) if device == "cpu" else torch.cuda.get_device_name(device)
    return [key, dtype, RECIPE if dtype == "int8" else None, hardware, platform.machine(), torch.__version__]
