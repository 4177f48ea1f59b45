"""Backends that compute networks: OpenVINO on a processor, torch elsewhere.

On processors OpenVINO is about three times as fast as torch for convolutional nets and one and a half times for
transformers of texts in float32, with the same results; in bfloat16 and int8 it gains more (figures in the README).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmrec_lib.encoders.runtime import int8_weights
from mmrec_lib.encoders.runtime.cosines import row_cosines
from mmrec_lib.encoders.weights.directory import machine_cache
from mmrec_lib.errors import EncoderError
from mmrec_lib.processor import NATIVE_BFLOAT16_FLAGS, has_native

_log = logging.getLogger(__name__)

Backend = Literal["auto", "openvino", "torch"]
Array = npt.NDArray[Any]
# Arrays of a batch → `[B, D] float32`.
InferenceFn = Callable[..., npt.NDArray[np.float32]]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_OPENVINO_FORMATS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
# Lowest cosine between what torch and a converted network give in float32.
_SAME = 0.9999


class Network(Protocol):
    """A network that can be computed in several dtypes."""

    @property
    def can_quantise(self) -> bool:
        """Tell if it can be computed in int8."""

    def compile(self, dtype: str) -> InferenceFn:
        """The function of NumPy arrays that computes it in float32, bfloat16, float16 or int8."""


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

    def compile(self, dtype: str) -> InferenceFn:
        if dtype not in _DTYPES:
            raise EncoderError(f"Dtype {dtype}: torch computes in {', '.join(_DTYPES)} here.")
        network = copy.deepcopy(self._module).to(self._device, _DTYPES[dtype])
        if self._device == "cpu":
            return lambda *inputs: _computed(network, map(torch.from_numpy, inputs))
        streams = threading.local()

        def run(*inputs: Array) -> npt.NDArray[np.float32]:
            # Each thread has a stream of its own, so that one copies from pinned memory while another computes.
            if not hasattr(streams, "own"):
                streams.own = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(streams.own):
                pinned = (torch.from_numpy(array).pin_memory() for array in inputs)
                return _computed(network, (tensor.to(self._device, non_blocking=True) for tensor in pinned))

        return _in_pieces(run)


def _computed(network: nn.Module, inputs: Iterable[torch.Tensor]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        vectors: npt.NDArray[np.float32] = network(*inputs).float().cpu().numpy()
    return vectors


def _in_pieces(run: InferenceFn) -> InferenceFn:
    """Halves batches until the memory of a GPU holds them, and takes no larger ones from then on."""
    most_numbers: int | None = None

    def run_pieces(*inputs: Array) -> npt.NDArray[np.float32]:
        nonlocal most_numbers
        num_rows = len(inputs[0])
        a_row = inputs[0].size // num_rows
        step = num_rows if most_numbers is None else max(1, min(num_rows, most_numbers // a_row))
        starts = range(0, num_rows, step)
        try:
            return np.concatenate([run(*(array[start : start + step] for array in inputs)) for start in starts])
        except torch.OutOfMemoryError as error:
            if step == 1:
                raise
            _log.warning("a batch of %d rows is halved: %s", step, _first_line(error))
            most_numbers = step // 2 * a_row
        torch.cuda.empty_cache()
        return run_pieces(*inputs)

    return run_pieces


class _OpenVinoNetwork:
    def __init__(self, file: Path, threads: int) -> None:
        import openvino

        self._core = openvino.Core()
        self._file = file
        self._network = self._core.read_model(file)
        self._threads = threads

    @property
    def can_quantise(self) -> bool:
        return int8_weights.can_quantise(self._network)

    def compile(self, dtype: str) -> InferenceFn:
        if dtype != "int8":
            return self._compiled(self._network, dtype)
        small = self._file.with_name(f"{self._file.stem}-int8-{_digest(int8_weights.RECIPE)}.xml")
        if not small.is_file():
            network = self._core.read_model(self._file)
            int8_weights.quantise(network)
            with _saved(network, small):
                pass
        # What is multiplied with small weights is quantised in groups of so many values while it passes; all else is
        # computed in bfloat16 where the processor can, and would be many times slower in it where not.
        group_size = int8_weights.group_size(self._network)
        other = "bfloat16" if has_native(NATIVE_BFLOAT16_FLAGS) else "float32"
        return self._compiled(self._core.read_model(small), other, DYNAMIC_QUANTIZATION_GROUP_SIZE=group_size)

    def _compiled(self, network: Any, dtype: str, **settings: object) -> InferenceFn:
        request = self._request(network, dtype, **settings)

        def run(*inputs: Array) -> npt.NDArray[np.float32]:
            vectors: npt.NDArray[np.float32] = np.array(request.infer(list(inputs), share_inputs=True)[0], np.float32)
            return vectors

        return run

    def _request(self, network: Any, dtype: str, **settings: object) -> Any:
        common = {
            "INFERENCE_PRECISION_HINT": _OPENVINO_FORMATS[dtype],
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # The operating system places workers; two of them must not be bound to the same core.
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(network, "CPU", {**common, **settings}).create_infer_request()


def _converted_file(key: str, example: tuple[Array, ...]) -> Path:
    about = [key, importlib.metadata.version("openvino"), [[str(array.dtype), array.ndim] for array in example]]
    return machine_cache() / f"network-{_digest(json.dumps(about))}.xml"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _convert(module: nn.Module, examples: Sequence[tuple[Array, ...]], threads: int, file: Path) -> None:
    """Converts a network into a file, after what it gives was compared with what torch gives."""
    import openvino

    batches = [tuple(torch.from_numpy(array) for array in example) for example in examples]
    try:
        with warnings.catch_warnings():
            # Tracing warns of everything that a trace fixes; what matters is compared below.
            warnings.simplefilter("ignore")
            converted = openvino.convert_model(module, example_input=batches[0])
        with _saved(converted, file) as saved:
            run = _OpenVinoNetwork(saved, threads).compile("float32")
            for example, tensors in zip(examples, batches, strict=True):
                _require_same(module, tensors, run(*example))
    except EncoderError:
        raise
    except Exception as error:
        # Whatever a converter of foreign networks raises means that it cannot do this one.
        raise EncoderError(f"Backend openvino: this network cannot be converted: {_first_line(error)}") from None


@contextlib.contextmanager
def _saved(network: Any, file: Path) -> Iterator[Path]:
    """Writes a network beside a file, for a look at it; what raises no error takes its place."""
    import openvino

    work = Path(tempfile.mkdtemp(prefix=".converting-", dir=file.parent))
    try:
        openvino.save_model(network, work / file.name, compress_to_fp16=False)
        yield work / file.name
        # The weights first: where the description is, everything is.
        for name in (file.with_suffix(".bin").name, file.name):
            (work / name).replace(file.with_name(name))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _require_same(module: nn.Module, tensors: tuple[torch.Tensor, ...], got: npt.NDArray[np.float32]) -> None:
    with torch.inference_mode():
        expected = module(*tensors).float().numpy()
    worst = float(row_cosines(expected, got).min()) if expected.shape == got.shape else 0.0
    if not worst > _SAME:
        raise EncoderError(f"Backend openvino: what torch gives is needed, got a cosine of {worst:.4f} to it.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
