"""Matrix products of a network in int8, with inputs evened out.

Weights get a scale for each row of results, inputs one for each group of neighbouring numbers while they pass. A number
far larger than its neighbours makes the scale coarse for all of them, and in transformers the same few channels are
always large. So channels are divided by constants before a product, and its weights multiplied by them: Xiao et al.,
SmoothQuant (2023), with their strength of one half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# What is remembered of a network that was quantised in another way does not hold.
RECIPE = "inputs evened out, groups of at most 384"
_MOST_IN_GROUP = 384
# Kernels take groups of multiples of this.
_GROUP_STEP = 32
# Channels below this share of the largest are treated as if they had it: a sample may not show what they can be.
_LEAST_SHARE = 1e-3


def can_quantise(network: Any) -> bool:
    """Tell if a network of OpenVINO has products with constant matrices."""
    return bool(_products(network))


def group_size(network: Any) -> int:
    """Number of neighbouring inputs that share a scale: as many as divide the inputs of every product.

    Larger groups are faster and less exact.
    """
    common = math.gcd(*(_channels_first(product).shape[0] for product in _products(network)))
    sizes = [size for size in range(_GROUP_STEP, _MOST_IN_GROUP + 1, _GROUP_STEP) if common % size == 0]
    return max(sizes, default=_GROUP_STEP)


def watched(network: Any) -> Callable[[Any], list[npt.NDArray[np.float32]]]:
    """Adds outputs to a network, in place: the largest magnitude in each channel of what goes into products.

    Returns:
        A function that takes them out of an inference request: `[K]` for each input of products.
    """
    from openvino import opset13

    num_outputs = len(network.outputs)
    largest = []
    for source, _ in _by_input(network):
        axes = opset13.constant(np.arange(len(source.get_partial_shape()) - 1))
        largest.append(opset13.reduce_max(opset13.abs(source), axes, False).output(0))
    network.add_outputs(largest)
    return lambda request: [np.array(request.get_output_tensor(num_outputs + i).data) for i in range(len(largest))]


def quantise(network: Any, largest: Sequence[npt.NDArray[np.float32]]) -> None:
    """Stores constant matrices as int8, in place.

    Args:
        network: A network of OpenVINO.
        largest: What the function of `watched` gave, the most of all batches.
    """
    from openvino import opset13

    for (source, products), magnitudes_K in zip(_by_input(network), largest, strict=True):
        weights = [_channels_first(product) for product in products]
        all_weights_KN = np.concatenate(weights, axis=1)
        # It costs K divisions and saves bits in K * N products.
        if all_weights_KN.shape[1] > all_weights_KN.shape[0]:
            divisors_K = _divisors(magnitudes_K, np.abs(all_weights_KN).max(axis=1))
            evened = opset13.multiply(source, opset13.constant(1 / divisors_K)).output(0)
            for product in products:
                product.input(0).replace_source_output(evened)
            weights = [weights_KN * divisors_K[:, None] for weights_KN in weights]
        for product, weights_KN in zip(products, weights, strict=True):
            scale_N = np.maximum(np.abs(weights_KN).max(axis=0), np.float32(1e-12)) / np.float32(127)
            codes_KN = np.round(weights_KN / scale_N).astype(np.int8)
            is_transposed = product.get_attributes()["transpose_b"]
            codes, scale = (codes_KN.T, scale_N[:, None]) if is_transposed else (codes_KN, scale_N[None])
            small = opset13.convert(opset13.constant(np.ascontiguousarray(codes)), "f32")
            product.input(1).replace_source_output(opset13.multiply(small, opset13.constant(scale)).output(0))


def _divisors(inputs_K: npt.NDArray[np.float32], weights_K: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Factors that make channels of inputs and of weights equally large, 1 on average: `[K] float32`."""
    floors = [np.maximum(values, max(float(values.max()) * _LEAST_SHARE, 1e-12)) for values in (inputs_K, weights_K)]
    divisors_K: npt.NDArray[np.float32] = np.sqrt(floors[0] / floors[1]).astype(np.float32)
    divisors_K /= divisors_K.mean()
    return divisors_K


def _by_input(network: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Inputs of products with constant matrices, each with all products that it goes into."""
    products: dict[tuple[str, int], list[Any]] = {}
    for product in _products(network):
        source = product.input_value(0)
        products.setdefault((source.get_node().get_friendly_name(), source.get_index()), []).append(product)
    for same in products.values():
        yield same[0].input_value(0), same


def _products(network: Any) -> list[Any]:
    """Matrix products with constant matrices."""
    products = [operation for operation in network.get_ordered_ops() if operation.get_type_name() == "MatMul"]
    return [product for product in products if _weights_of(product) is not None]


def _channels_first(product: Any) -> npt.NDArray[np.float32]:
    """The constant matrix of a product, `[K, N] float32`."""
    weights: npt.NDArray[np.float32] = _weights_of(product).data.astype(np.float32)
    is_transposed: bool = product.get_attributes()["transpose_b"]
    return weights.T if is_transposed else weights


def _weights_of(product: Any) -> Any:
    source = product.input_value(1).get_node()
    while source.get_type_name() == "Convert":
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" and len(source.shape) == 2 else None
