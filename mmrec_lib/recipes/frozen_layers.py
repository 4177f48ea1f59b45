"""Frozen first layers of an encoder, computed once a text or image instead of once a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmrec_lib.errors import RecipeError

MAX_CACHE_BYTES = 2**30
DEPTH_NAMES = ("num_hidden_layers", "n_layers", "n_layer")
"""Names that families give to the number of their layers."""


class _StopError(Exception):
    """Raised where the rest of a network need not be computed."""


class _Through(nn.Module):
    """Stands for a layer whose output will be replaced: gives back its input in the form of the layer's output."""

    def __init__(self, in_tuple: bool) -> None:
        super().__init__()
        self._in_tuple = in_tuple

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Any:
        return (hidden,) if self._in_tuple else hidden


class FrozenLayers:
    """Hidden states that enter the first trained layer, by text or image, and a way to go on from them.

    They are computed in the form in which training sees them, so the result is that of the whole network but for
    rounding.
    """

    def __init__(self, layers: nn.ModuleList, num_frozen: int) -> None:
        """Bind to the blocks of a network, of which the first ones are frozen; at least one is not."""
        self._layers, self._num_frozen = layers, num_frozen
        self._originals = list(layers)[:num_frozen]
        self._in_tuple, self._is_alone = False, True
        self._states: dict[int, Tensor] = {}

    def fits(self, num_tokens: int, dim: int) -> bool:
        """Tell if there is something to save, and it takes little enough memory."""
        return self._num_frozen > 0 and num_tokens * dim * 4 <= MAX_CACHE_BYTES

    def fits_like(self, number: int, count: int) -> bool:
        """Tell if so many contents can be kept that are as large as one that was captured, and be gone on from.

        A layer that gives more than its hidden states, such as their height and width, cannot be stood in for.
        """
        return self._is_alone and self.fits(count, self._states[number].numel())

    def forget(self) -> None:
        """Drop what was kept."""
        self._states.clear()

    def capture(self, run: Any, numbers: Sequence[int], lengths: Sequence[int] | None = None) -> None:
        """Keep the hidden states of a batch.

        Args:
            run: Computes the network over the batch.
            numbers: Contents of the batch.
            lengths: Tokens of each; None where all of the hidden states count, as those of images.
        """
        found: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            found.append(inputs[0] if inputs else named["hidden_states"])
            raise _StopError

        def look(_: nn.Module, __: Any, output: Any) -> None:
            self._in_tuple = isinstance(output, tuple)
            self._is_alone = not self._in_tuple or len(output) == 1

        hooks = [
            self._layers[self._num_frozen].register_forward_pre_hook(keep, with_kwargs=True),
            self._originals[-1].register_forward_hook(look),
        ]
        try:
            with torch.no_grad():
                run()
        except _StopError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        for place, (number, states) in enumerate(zip(numbers, found[0], strict=True)):
            self._states[number] = states[: None if lengths is None else lengths[place]].clone()

    @contextmanager
    def entered(self, numbers: Sequence[int], length: int | None = None) -> Iterator[None]:
        """Let the network begin at the first trained layer with the kept states of a batch.

        Args:
            numbers: Contents of the batch.
            length: Tokens that all are padded to; None where all states have one shape.
        """
        first = self._states[numbers[0]]
        states_BLD = first.new_zeros((len(numbers), length or len(first), *first.shape[1:]))
        for row, number in enumerate(numbers):
            states_BLD[row, : len(self._states[number])] = self._states[number]

        def replace(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if inputs:
                return (states_BLD, *inputs[1:]), named
            return inputs, {**named, "hidden_states": states_BLD}

        hook = self._layers[self._num_frozen].register_forward_pre_hook(replace, with_kwargs=True)
        for place in range(self._num_frozen):
            self._layers[place] = _Through(self._in_tuple)
        try:
            yield
        finally:
            hook.remove()
            for place, layer in enumerate(self._originals):
                self._layers[place] = layer


def encoder_layers(model: nn.Module) -> nn.ModuleList:
    """The blocks of a network, in order.

    Raises:
        RecipeError: When they are not found.
    """
    config: Any = model.config
    depth = next((size for name in DEPTH_NAMES if (size := getattr(config, name, 0))), 0)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise RecipeError(f"Encoder of type {type(model).__name__}: a stack of layers is needed, got none that is known.")


def vision_layers(model: nn.Module) -> nn.ModuleList:
    """The blocks, or stages, of a network of images, in order.

    Raises:
        RecipeError: When they are not found.
    """
    within: nn.Module = getattr(model, "encoder", model)
    found = next((one for one in within.modules() if isinstance(one, nn.ModuleList) and len(one)), None)
    if found is None:
        raise RecipeError(f"Encoder of type {type(model).__name__}: a list of blocks or stages is needed, got none.")
    return found


def modules_after(model: nn.Module, layers: nn.ModuleList) -> list[nn.Module]:
    """Modules of a network that stand after its blocks, such as a last convolution or a pooling layer."""
    inside, found, is_after = {id(one) for one in layers.modules()}, list[nn.Module](), False
    for module in model.modules():
        if is_after and id(module) not in inside:
            found.append(module)
        is_after = is_after or module is layers
    return found
