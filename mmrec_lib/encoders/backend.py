"""What computes a network: OpenVINO on a processor, torch elsewhere.

On processors OpenVINO is about three times as fast as torch for convolutional nets and one and a half times for
transformers of texts in float32, with the same results; in bfloat16 and int8 it gains more (figures in the README).
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmrec_lib.encoders.directory import machine_cache
from mmrec_lib.errors import EncoderError

_log = logging.getLogger(__name__)

Backend = Literal["auto", "openvino", "torch"]
Array = npt.NDArray[Any]
# Arrays of a batch → `[B, D] float32`.
Run = Callable[..., npt.NDArray[np.float32]]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_OPENVINO_FORMATS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "bf16"}
# Larger groups are faster and less exact: at 128 texts lose a thousandth of their cosine.
_QUANTISED_TOGETHER = 128
# Lowest cosine between what torch and a converted network give in float32.
_SAME = 0.9999


class Network(Protocol):
    """A network that can be computed in several number formats."""

    @property
    def can_quantise(self) -> bool:
        """Whether it can be computed in int8."""

    def at(self, form: str) -> Run:
        """The function of NumPy arrays that computes it in this format: float32, bfloat16, float16 or int8."""


def make_network(
    build: Callable[[], nn.Module],
    examples: Sequence[tuple[Array, ...]],
    *,
    key: str,
    device: str,
    threads: int,
    backend: Backend = "auto",
) -> Network:
    """Takes what computes a network fastest.

    Args:
        build: Gives the network in evaluation mode and float32, on the processor; it takes tensors as in an example
            and returns `[B, D]`. Not called when this machine has converted the network before.
        examples: Arguments of batches, of all sizes that may vary later: a converted network is compared on each.
        key: Identity of the network.
        device: cpu, cuda or cuda:<number>.
        threads: Threads on a processor.
        backend: openvino, torch, or auto: OpenVINO on a processor where it is installed and gives what torch gives.

    Raises:
        EncoderError: When OpenVINO is asked for and cannot do it.
    """
    torch.set_num_threads(threads)
    if backend == "openvino" and device != "cpu":
        raise EncoderError(f"Backend openvino: it computes on processors, got device {device}.")
    if device != "cpu" or backend == "torch":
        return _TorchNetwork(build(), device)
    if importlib.util.find_spec("openvino") is None:
        if backend == "openvino":
            raise EncoderError("Backend openvino: the package openvino is needed, it is not installed.")
        return _TorchNetwork(build(), device)
    file = _converted_file(key, examples[0])
    if not file.is_file():
        module = build()
        try:
            _convert(module, examples, threads, file)
        except EncoderError as error:
            if backend == "openvino":
                raise
            _log.warning("torch computes network %s: %s", key, error)
            return _TorchNetwork(module, device)
    return _OpenVinoNetwork(file, threads)


class _TorchNetwork:
    def __init__(self, module: nn.Module, device: str) -> None:
        self._module, self._device = module, device

    can_quantise = False

    def at(self, form: str) -> Run:
        if form not in _DTYPES:
            raise EncoderError(f"Number format {form}: torch computes in {', '.join(_DTYPES)} here.")
        network = copy.deepcopy(self._module).to(self._device, _DTYPES[form])
        is_on_gpu = self._device != "cpu"

        def run(*inputs: Array) -> npt.NDArray[np.float32]:
            tensors = [torch.from_numpy(array) for array in inputs]
            if is_on_gpu:
                # From pinned memory a copy runs beside the computation.
                tensors = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]
            with torch.inference_mode():
                vectors: npt.NDArray[np.float32] = network(*tensors).float().cpu().numpy()
            return vectors

        return run


class _OpenVinoNetwork:
    def __init__(self, file: Path, threads: int) -> None:
        import openvino

        self._core = openvino.Core()
        self._file = file
        self._network = self._core.read_model(file)
        self._threads = threads

    @property
    def can_quantise(self) -> bool:
        return bool(_products_with_weights(self._network))

    def at(self, form: str) -> Run:
        network = self._network
        settings = {
            "INFERENCE_PRECISION_HINT": _OPENVINO_FORMATS[form],
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # The operating system places workers; two of them must not be bound to the same core.
            "ENABLE_CPU_PINNING": False,
        }
        if form == "int8":
            network = self._core.read_model(self._file)
            _quantise_weights(network)
            # What is multiplied with them is quantised in groups of so many numbers while it passes.
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _QUANTISED_TOGETHER
        request = self._core.compile_model(network, "CPU", settings).create_infer_request()

        def run(*inputs: Array) -> npt.NDArray[np.float32]:
            vectors: npt.NDArray[np.float32] = np.array(request.infer(list(inputs), share_inputs=True)[0], np.float32)
            return vectors

        return run


def _products_with_weights(network: Any) -> list[Any]:
    """Matrix products with constant matrices."""
    products = [operation for operation in network.get_ordered_ops() if operation.get_type_name() == "MatMul"]
    return [product for product in products if _weights_of(product) is not None]


def _weights_of(product: Any) -> Any:
    source = product.input_value(1).get_node()
    while source.get_type_name() == "Convert":
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" and len(source.shape) == 2 else None


def _quantise_weights(network: Any) -> None:
    """Stores constant matrices as int8 with a scale for each row of results, in place."""
    from openvino import opset13

    for product in _products_with_weights(network):
        weights = _weights_of(product).data.astype(np.float32)
        axis = 1 if product.get_attributes()["transpose_b"] else 0
        scale = np.maximum(np.abs(weights).max(axis=axis, keepdims=True), np.float32(1e-12)) / np.float32(127)
        small = opset13.convert(opset13.constant(np.round(weights / scale).astype(np.int8)), "f32")
        product.input(1).replace_source_output(opset13.multiply(small, opset13.constant(scale)).output(0))


def _converted_file(key: str, example: tuple[Array, ...]) -> Path:
    about = [key, importlib.metadata.version("openvino"), [[str(array.dtype), array.ndim] for array in example]]
    return machine_cache() / f"network-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.xml"


def _convert(module: nn.Module, examples: Sequence[tuple[Array, ...]], threads: int, file: Path) -> None:
    """Converts a network into a file, after what it gives was compared with what torch gives."""
    import openvino

    batches = [tuple(torch.from_numpy(array) for array in example) for example in examples]
    work = Path(tempfile.mkdtemp(prefix=".converting-", dir=file.parent))
    try:
        with warnings.catch_warnings():
            # Tracing warns of everything that a trace fixes; what matters is compared below.
            warnings.simplefilter("ignore")
            converted = openvino.convert_model(module, example_input=batches[0])
        openvino.save_model(converted, work / file.name, compress_to_fp16=False)
        run = _OpenVinoNetwork(work / file.name, threads).at("float32")
        for example, tensors in zip(examples, batches, strict=True):
            _require_same(module, tensors, run(*example))
        # The weights first: where the description is, everything is.
        for name in (file.with_suffix(".bin").name, file.name):
            (work / name).replace(file.with_name(name))
    except EncoderError:
        raise
    except Exception as error:
        # Whatever a converter of foreign networks raises means that it cannot do this one.
        raise EncoderError(f"Backend openvino: this network cannot be converted: {_first_line(error)}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


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
