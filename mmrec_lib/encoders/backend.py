"""What computes a network: OpenVINO on a processor, torch elsewhere.

On processors OpenVINO is three to six times as fast as torch for convolutional nets, and up to twice as fast for
transformers of texts (measured; see the README), with the same results in float32.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmrec_lib.errors import EncoderError

_log = logging.getLogger(__name__)

Backend = Literal["auto", "openvino", "torch"]
Array = npt.NDArray[Any]
# Arrays of a batch → `[B, D] float32`.
Run = Callable[..., npt.NDArray[np.float32]]

_OPENVINO_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
# Lowest cosine between what torch and a converted network give in float32.
_SAME = 0.9999


def compile_network(
    module: nn.Module,
    example: tuple[Array, ...],
    *,
    dtype: torch.dtype,
    device: str,
    threads: int,
    backend: Backend = "auto",
) -> Run:
    """Makes a function of NumPy arrays out of a network.

    Args:
        module: In evaluation mode and float32, on the processor; takes tensors as in `example`, returns `[B, D]`.
        example: Arguments of one batch; B and the lengths of sequences may be others later.
        dtype: Number format to compute in.
        device: cpu, cuda or cuda:<number>.
        threads: Threads on a processor.
        backend: openvino, torch, or auto: OpenVINO on a processor where it is installed and gives what torch gives.

    Raises:
        EncoderError: When OpenVINO is asked for and cannot do it.
    """
    torch.set_num_threads(threads)
    if device == "cpu" and backend != "torch":
        try:
            return _with_openvino(module, example, dtype, threads)
        except EncoderError as error:
            if backend == "openvino":
                raise
            _log.warning("torch computes this network: %s", error)
    if backend == "openvino":
        raise EncoderError(f"Backend openvino: it computes on processors, got device {device}.")
    return _with_torch(module, dtype, device)


def _with_torch(module: nn.Module, dtype: torch.dtype, device: str) -> Run:
    network = copy.deepcopy(module).to(device, dtype)
    is_on_gpu = device != "cpu"

    def run(*inputs: Array) -> npt.NDArray[np.float32]:
        tensors = [torch.from_numpy(array) for array in inputs]
        if is_on_gpu:
            # From pinned memory a copy runs beside the computation.
            tensors = [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]
        with torch.inference_mode():
            vectors: npt.NDArray[np.float32] = network(*tensors).float().cpu().numpy()
        return vectors

    return run


def _with_openvino(module: nn.Module, example: tuple[Array, ...], dtype: torch.dtype, threads: int) -> Run:
    if importlib.util.find_spec("openvino") is None:
        raise EncoderError("Backend openvino: the package openvino is needed, it is not installed.")
    import openvino

    tensors = tuple(torch.from_numpy(array) for array in example)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of everything that a trace fixes; what matters is compared
            converted = openvino.convert_model(copy.deepcopy(module), example_input=tensors)
        _require_same(module, tensors, _compile(converted, torch.float32, threads)(*example))
        return _compile(converted, dtype, threads)
    except EncoderError:
        raise
    except Exception as error:
        # Whatever a converter of foreign networks raises means that it cannot do this one.
        raise EncoderError(f"Backend openvino: this network cannot be converted: {_first_line(error)}") from None


def _compile(converted: Any, dtype: torch.dtype, threads: int) -> Run:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": _OPENVINO_PRECISIONS[dtype],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Workers are placed by the operating system, two of them must not be bound to the same core.
        "ENABLE_CPU_PINNING": False,
    }
    request = openvino.Core().compile_model(converted, "CPU", settings).create_infer_request()

    def run(*inputs: Array) -> npt.NDArray[np.float32]:
        result = request.infer(list(inputs), share_inputs=True)[0]
        vectors: npt.NDArray[np.float32] = np.array(result, dtype=np.float32)
        return vectors

    return run


def _require_same(module: nn.Module, tensors: tuple[torch.Tensor, ...], got: npt.NDArray[np.float32]) -> None:
    with torch.inference_mode():
        expected = module(*tensors).float().numpy()
    worst = float(row_cosines(expected, got).min()) if expected.shape == got.shape else 0.0
    if not worst > _SAME:
        raise EncoderError(f"Backend openvino: what torch gives is needed, got a cosine of {worst:.4f} to it.")


def row_cosines(a_BD: npt.NDArray[np.float32], b_BD: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """`res[i] = cos_sim(a[i], b[i])`."""
    a, b = a_BD.astype(np.float64), b_BD.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: npt.NDArray[np.float64] = (a * b).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
