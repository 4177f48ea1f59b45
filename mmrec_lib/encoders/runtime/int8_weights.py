"""Matrix products of a network with weights in int8.

Weights get a scale for each row of results; OpenVINO gives inputs one for each group of neighbouring values while they
pass. A value far larger than its neighbours makes the scale coarse for its group, so groups are small
(docs/decisions/0013-int8-weights-without-smoothquant.md).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

# What is cached of a network that was quantised in another way does not hold.
RECIPE = "weights by row, inputs in groups of at most 128"
_MOST_IN_GROUP = 128
# Kernels take groups of multiples of this.
_GROUP_STEP = 32


def can_quantise(network: Any) -> bool:
    """Tell if a network of OpenVINO has products with constant matrices."""
    return bool(_products(network))


def group_size(network: Any) -> int:
    """Number of neighbouring inputs that share a scale: as many as divide the inputs of every product.

    Larger groups are faster and less exact.
    """
    common = math.gcd(*(_rows_first(product).shape[1] for product in _products(network)))
    sizes = [size for size in range(_GROUP_STEP, _MOST_IN_GROUP + 1, _GROUP_STEP) if common % size == 0]
    return max(sizes, default=_GROUP_STEP)


def quantise(network: Any) -> None:
    """Stores constant matrices as int8, in place.

    Args:
        network: A network of OpenVINO.
    """
    from openvino import opset13

    for product in _products(network):
        weights_NK = _rows_first(product)
        scale_N1 = np.maximum(np.abs(weights_NK).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(127)
        codes_NK = np.round(weights_NK / scale_N1).astype(np.int8)
        is_transposed = product.get_attributes()["transpose_b"]
        codes, scale = (codes_NK, scale_N1) if is_transposed else (codes_NK.T, scale_N1.T)
        small = opset13.convert(opset13.constant(np.ascontiguousarray(codes)), "f32")
        product.input(1).replace_source_output(opset13.multiply(small, opset13.constant(scale)).output(0))


def _products(network: Any) -> list[Any]:
    """Matrix products with constant matrices."""
    products = [operation for operation in network.get_ordered_ops() if operation.get_type_name() == "MatMul"]
    return [product for product in products if _weights_of(product) is not None]


def _rows_first(product: Any) -> npt.NDArray[np.float32]:
    """The constant matrix of a product with N results and K inputs, `[N, K] float32`."""
    weights: npt.NDArray[np.float32] = _weights_of(product).data.astype(np.float32)
    is_transposed: bool = product.get_attributes()["transpose_b"]
    return weights if is_transposed else weights.T


def _weights_of(product: Any) -> Any:
    source = product.input_value(1).get_node()
    while source.get_type_name() == "Convert":
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" and len(source.shape) == 2 else None
