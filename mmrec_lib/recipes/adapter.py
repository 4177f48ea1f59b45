"""Contrastive fine-tuning of an encoder on behaviour: contents that people turn to together come close.

In each batch the neighbours of a content in the graph of behaviour are its positives, by their weight, and all others
its negatives: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018), with
several positives as in Khosla et al., "Supervised Contrastive Learning" (2020).

Shape legend: B contents, D dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.encoder_directory import save_encoder
from mmrec_lib.recipes.epochs import Course, Steps, train_epochs
from mmrec_lib.recipes.frozen_layers import FrozenLayers
from mmrec_lib.recipes.lora import add_adapters, merge_adapters

Floats = npt.NDArray[np.float32]
ENCODED_TOGETHER = 32


class Adapter(ABC):
    """An encoder that is trained; its vectors have length 1.

    Attributes:
        contents: What it reads, for messages.
    """

    contents: ClassVar[str]

    def __init__(self, directory: Path, config: AdaptationConfig, model: Any, device: str) -> None:
        """Bind to a network, which gets its adapters by `adapt_layers`.

        Args:
            directory: The encoder as it is.
            config: How it is trained.
            model: The network; its dropout and batch norms stay as in evaluation.
            device: What is computed on.
        """
        self.directory, self.config, self.device, self.model = directory, config, device, model
        self._adapted: list[nn.Module] = []
        self._besides: list[nn.Module] = []
        self._frozen: FrozenLayers | None = None

    def adapt_layers(
        self, layers: nn.ModuleList, others: Iterable[nn.Module] = (), besides: Iterable[nn.Module] = ()
    ) -> None:
        """Put adapters on the last layers.

        Args:
            layers: Blocks of the network.
            others: Modules that get adapters besides the last blocks.
            besides: Modules that get none.

        Raises:
            RecipeError: When there is nothing to adapt.
        """
        trained, self._frozen = self.divided(layers)
        self.adapt_modules([*trained, *others], besides)

    def divided(self, layers: nn.ModuleList) -> tuple[list[nn.Module], FrozenLayers]:
        """The last blocks of a network, which are trained, and the frozen ones before them."""
        num_trained = len(layers) if self.config.trained_layers is None else self.config.trained_layers
        num_frozen = max(len(layers) - num_trained, 0)
        return list(layers)[num_frozen:], FrozenLayers(layers, num_frozen)

    def adapt_modules(self, modules: Iterable[nn.Module], besides: Iterable[nn.Module] = ()) -> None:
        """Put adapters on modules of the network.

        Args:
            modules: They and what is inside of them get adapters.
            besides: Modules that get none.

        Raises:
            RecipeError: When there is nothing to adapt.
        """
        assert self.config.rank is not None
        self._adapted, self._besides = list(modules), list(besides)
        self._add_adapters(self.config.rank)

    def renew(self) -> None:
        """Merge the adapters into the weights, and put new ones on, which change nothing yet: for another step."""
        if self.config.rank is None:
            return
        merge_adapters(self.model)
        torch.manual_seed(self.config.seed)
        self._add_adapters(self.config.rank)
        self.model.to(self.device)

    def _add_adapters(self, rank: int) -> None:
        add_adapters(self.model, self._adapted, rank, self.config.scale, besides=self._besides)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Weights that change, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of its vectors."""

    @abstractmethod
    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of contents `[B, D]`, of length 1, by their numbers among those that were read."""

    @abstractmethod
    def batches(self, numbers: Sequence[int]) -> Iterable[list[int]]:
        """Contents in batches that are encoded together."""

    def encode(self, numbers: Sequence[int]) -> Floats:
        """Vectors of contents without training: `[num_contents, D]`."""
        self.model.eval()
        place = {number: row for row, number in enumerate(numbers)}
        found = np.zeros((len(numbers), self.dim), np.float32)
        with torch.inference_mode():
            for chosen in self.batches(numbers):
                found[[place[number] for number in chosen]] = self.vectors(chosen).cpu().numpy()
        return found

    def fit(
        self, weights: csr_array, validate: Callable[[], float], checkpoints: EpochCheckpoints | None = None
    ) -> Course:
        """Train until validation gets no better, and end with the weights of the best epoch.

        Args:
            weights: The graph of the contents that were read: how much two of them belong together.
            validate: Score of the encoder as it is now, higher is better.
            checkpoints: Where a killed run goes on from; None keeps nothing on disk.

        Raises:
            RecipeError: When too few contents have a neighbour.
        """
        config, weights = self.config, self.graph(weights)
        nodes = np.flatnonzero(np.diff(weights.indptr) > 0)
        if len(nodes) < config.batch_size:
            raise RecipeError(
                f"Adaptation of `{config.encoder}`: at least {config.batch_size} {self.contents} with a neighbour are "
                f"needed (adaptation.batch_size), got {len(nodes)}: too few people turned to the same items."
            )
        num_batches = max(2 * len(nodes) // config.batch_size, 1)
        steps = Steps(self.trained, config.learning_rate, config.max_epochs * num_batches)

        def epoch_of(epoch: int) -> float:
            rng = np.random.default_rng([config.seed, epoch])
            torch.manual_seed(config.seed * 1_000_003 + epoch)
            # Dropout stays off: few contents see few steps, and positives differ from one to the next already.
            total, order = 0.0, rng.permutation(nodes)
            for step in range(num_batches):
                steps.set_rate((epoch - 1) * num_batches + step)
                batch = _batch(order[step * (config.batch_size // 2) :], weights, config.batch_size, rng)
                if len(batch) >= 2:
                    total += steps.take(self._loss(batch, weights))
            return total / num_batches

        return train_epochs(
            "behaviour",
            steps,
            epoch_of,
            validate,
            max_epochs=config.max_epochs,
            patience=config.patience,
            checkpoints=checkpoints,
        )

    def graph(self, weights: csr_array) -> csr_array:
        """The part of a graph that it can learn from."""
        return weights

    def _loss(self, batch: npt.NDArray[np.intp], weights: csr_array) -> Tensor:
        """Cross-entropy of each content's neighbours among the batch, by the cosines of vectors."""
        vectors_BD = self.vectors(batch.tolist())
        is_same_BB = torch.eye(len(batch), dtype=torch.bool, device=self.device)
        wanted_BB = torch.from_numpy(weights[batch][:, batch].toarray()).to(self.device)
        return neighbour_loss(vectors_BD @ vectors_BD.T / self.config.temperature, is_same_BB, wanted_BB)

    def save(self, directory: Path, *, base: str | None = None, changes: Mapping[str, Any] | None = None) -> None:
        """Write the adapted encoder in transformers format, adapters merged; see `save_encoder`.

        Args:
            directory: Where to.
            base: Name of the encoder that it comes from; None: that of the config.
            changes: Settings of `config.json` that differ.

        Raises:
            RecipeError: When something else than an adaptation lies in the directory.
        """
        merge_adapters(self.model)
        save_encoder(self.model, self.directory, directory, base=base or self.config.encoder, changes=changes)


def neighbour_loss(logits_BC: Tensor, is_same_BC: Tensor, wanted_BC: Tensor) -> Tensor:
    """Cross-entropy of contents' neighbours among candidates, over the contents that have any there.

    Args:
        logits_BC: `[B, C]` scores of candidates.
        is_same_BC: `[B, C]` True where a candidate is the content itself, which counts as neither.
        wanted_BC: `[B, C]` weights of the neighbours, not negative; at least one is positive.
    """
    sums_B = wanted_BC.sum(1)
    has_any = sums_B > 0
    target_BC = wanted_BC[has_any] / sums_B[has_any].unsqueeze(1)
    return nn.functional.cross_entropy(logits_BC.masked_fill(is_same_BC, -1e4)[has_any], target_BC)


def refused(config: AdaptationConfig, reason: object) -> RecipeError:
    """The error of an encoder that cannot be adapted."""
    return RecipeError(f"Encoder `{config.encoder}` cannot be adapted: {reason}")


def _batch(
    nodes: npt.NDArray[np.intp], weights: csr_array, size: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Contents of a step: some in their order, and for each a neighbour by its weight; none twice."""
    chosen = dict[int, None]()
    for node in nodes[: size // 2].tolist():
        start, end = weights.indptr[node], weights.indptr[node + 1]
        own = weights.data[start:end]
        neighbour = int(rng.choice(weights.indices[start:end], p=own / own.sum()))
        chosen |= {node: None, neighbour: None}
    return np.array(list(chosen), np.intp)
