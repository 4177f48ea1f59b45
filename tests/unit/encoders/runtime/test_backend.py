from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13
from torch import nn

from mmrec_lib.encoders.runtime import backend, int8_weights
from mmrec_lib.encoders.runtime.backend import make_network
from mmrec_lib.encoders.runtime.cosines import row_cosines
from mmrec_lib.errors import EncoderError
from mmrec_lib.processor import NATIVE_INT8_FLAGS, has_native

EXAMPLE = (np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8),)


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolve = nn.Conv2d(3, 16, 3)

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        x_BCHW = x_BHWC.permute(0, 3, 1, 2).to(self.convolve.weight.dtype) / 255
        pooled: torch.Tensor = self.convolve(x_BCHW).relu().mean((2, 3))
        return pooled


class OtherWhenTraced(Convolution):
    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        vectors = super().forward(x_BHWC)
        return vectors.flip(1) if torch.jit.is_tracing() else vectors


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(backend, "machine_cache", lambda: tmp_path)
    return tmp_path


def test_openvino_gives_what_torch_gives() -> None:
    module = Convolution().eval()
    by_torch = make_network(lambda: module, [EXAMPLE], key="a", device="cpu", threads=1, backend="torch")
    by_openvino = make_network(lambda: module, [EXAMPLE], key="a", device="cpu", threads=1, backend="openvino")
    expected = by_torch.compile("float32")(*EXAMPLE)
    got = by_openvino.compile("float32")(*EXAMPLE)
    assert got.shape == (2, 16) and got.dtype == np.float32
    assert row_cosines(expected, got).min() > 0.9999
    assert row_cosines(expected, by_torch.compile("bfloat16")(*EXAMPLE)).min() > 0.999


@pytest.mark.slow
def test_a_network_that_was_converted_is_not_built_again(cache: Path) -> None:
    built = []

    def build() -> nn.Module:
        built.append(1)
        return Convolution().eval()

    first = make_network(build, [EXAMPLE], key="a", device="cpu", threads=1)
    again = make_network(build, [EXAMPLE], key="a", device="cpu", threads=1)
    assert np.array_equal(first.compile("float32")(*EXAMPLE), again.compile("float32")(*EXAMPLE))
    make_network(build, [EXAMPLE], key="b", device="cpu", threads=1)
    assert len(built) == 2
    assert sorted(path.suffix for path in cache.iterdir()) == [".bin", ".bin", ".xml", ".xml"]


@pytest.mark.slow
def test_torch_computes_what_openvino_does_otherwise(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = OtherWhenTraced().eval()
    with caplog.at_level(logging.WARNING):
        made = make_network(lambda: module, [EXAMPLE], key="a", device="cpu", threads=1)
    with torch.inference_mode():
        assert np.allclose(made.compile("float32")(*EXAMPLE), module(torch.from_numpy(EXAMPLE[0])).numpy())
    assert "torch computes network a" in caplog.text
    assert list(cache.iterdir()) == []
    with pytest.raises(EncoderError, match="Backend openvino"):
        make_network(lambda: module, [EXAMPLE], key="a", device="cpu", threads=1, backend="openvino")


class Products(nn.Module):
    """Two products; of the inputs of the first, every 128th is as large as given."""

    def __init__(self, largest: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(384, 256), nn.ReLU(), nn.Linear(256, 32))
        self.sizes = torch.ones(384)
        self.sizes[::128] = largest
        with torch.no_grad():
            self.layers[0].weight /= self.sizes

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        x_BD = (x_BHWC.flatten(1).repeat(1, 2) / 255 - 0.5) * self.sizes
        vectors: torch.Tensor = self.layers(x_BD.to(self.layers[0].weight.dtype))
        return vectors


def quantised(largest: float, key: str) -> float:
    """Worst cosine of vectors in int8."""
    network = make_network(lambda: Products(largest).eval(), [EXAMPLE], key=key, device="cpu", threads=1)
    assert network.can_quantise
    exact = network.compile("float32")(*EXAMPLE)
    return float(row_cosines(exact, network.compile("int8")(*EXAMPLE)).min())


@pytest.mark.slow
def test_weights_of_products_can_be_small_integers(cache: Path) -> None:
    assert 0.99 < quantised(1.0, "a") < 0.9999999
    assert len(list(cache.iterdir())) == 4
    network = make_network(Products, [EXAMPLE], key="a", device="cpu", threads=1)
    network.compile("int8")(*EXAMPLE)  # as kept before
    assert len(list(cache.iterdir())) == 4
    convolution = make_network(lambda: Convolution().eval(), [EXAMPLE], key="c", device="cpu", threads=1)
    assert not convolution.can_quantise
    by_torch = make_network(Convolution, [EXAMPLE], key="d", device="cpu", threads=1, backend="torch")
    with pytest.raises(EncoderError, match="int8"):
        by_torch.compile("int8")


@pytest.mark.slow
def test_a_large_value_makes_only_its_own_group_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every 128th input is large: with groups of 128 all are coarse, with groups of 64 every second one is exact.
    coarse = quantised(1000.0, "a")
    monkeypatch.setattr(int8_weights, "_MOST_IN_GROUP", 64)
    finer = quantised(1000.0, "b")
    assert coarse <= finer < quantised(1.0, "c")
    # Kernels of tiles have one scale for a row of inputs, whatever the groups, and so have those without int8 products.
    has_groups = has_native(NATIVE_INT8_FLAGS) and not has_native(frozenset({"amx_int8"}))
    assert coarse < finer or not has_groups


def test_weights_in_int8_have_a_scale_for_each_row_of_results() -> None:
    weights_KN = np.array([[1.0, 0.5, 0.0], [-0.25, -127.0, 0.0]], np.float32)
    for is_transposed in (False, True):
        x = opset13.parameter([1, 2], np.float32)
        matrix = opset13.constant(np.ascontiguousarray(weights_KN.T if is_transposed else weights_KN))
        network = openvino.Model([opset13.matmul(x, matrix, False, is_transposed)], [x])
        int8_weights.quantise(network)
        constants = [op for op in network.get_ordered_ops() if op.get_type_name() == "Constant"]
        (codes,) = [op.data for op in constants if op.get_element_type() == openvino.Type.i8]
        assert (codes.T if is_transposed else codes).tolist() == [[127, 0, 0], [-32, -127, 0]]
        run = openvino.Core().compile_model(network, "CPU", {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
        assert run([np.array([[1.0, 0.0]], np.float32)])[0][0].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bf16"), (False, "f32")])
def test_int8_leaves_the_rest_to_bfloat16_only_where_the_processor_has_it(
    has_bfloat16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    compile_model = openvino.Core.compile_model

    def compile_and_look(core: openvino.Core, network: Any, device: str, settings: dict[str, Any]) -> Any:
        asked.append(settings["INFERENCE_PRECISION_HINT"])
        return compile_model(core, network, device, settings)

    network = make_network(lambda: Products().eval(), [EXAMPLE], key="a", device="cpu", threads=1)
    monkeypatch.setattr(openvino.Core, "compile_model", compile_and_look)
    monkeypatch.setattr(backend, "has_native", lambda flags: has_bfloat16)
    network.compile("int8")
    assert asked == [expected]


@pytest.mark.parametrize(
    ("widths", "group_size"), [((192, 256), 64), ((384, 1536), 128), ((1024, 4096), 128), ((100,), 32)]
)
def test_groups_divide_the_inputs_of_all_products(widths: tuple[int, ...], group_size: int) -> None:
    inputs = [opset13.parameter([1, width], np.float32) for width in widths]
    products = [opset13.matmul(x, opset13.constant(np.ones((x.shape[1], 8), np.float32)), False, False) for x in inputs]
    assert int8_weights.group_size(openvino.Model(products, inputs)) == group_size


def test_batches_that_a_gpu_has_no_memory_for_are_halved(caplog: pytest.LogCaptureFixture) -> None:
    sizes = []

    def run(x_BD: np.ndarray, y_BD: np.ndarray) -> np.ndarray:
        sizes.append(x_BD.shape)
        if x_BD.size > 12:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x_BD + y_BD

    in_pieces = backend._in_pieces(run)
    x_BD = np.arange(28, dtype=np.float32).reshape(14, 2)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(in_pieces(x_BD, 2 * x_BD), 3 * x_BD)
    assert sizes == [(14, 2), (7, 2), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2)]
    assert "a batch of 14 rows is halved: CUDA out of memory." in caplog.text
    # Rows that are twice as long: half as many.
    sizes.clear()
    long_BD = x_BD.reshape(7, 4)
    assert np.array_equal(in_pieces(long_BD, long_BD), 2 * long_BD)
    assert sizes == [(1, 4)] * 7
    with pytest.raises(torch.OutOfMemoryError):
        in_pieces(np.ones((2, 13), np.float32), np.ones((2, 13), np.float32))


def test_openvino_is_for_processors() -> None:
    with pytest.raises(EncoderError, match="got device cuda"):
        make_network(Convolution, [EXAMPLE], key="a", device="cuda", threads=1, backend="openvino")
