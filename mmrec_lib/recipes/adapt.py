"""Contrastive fine-tuning of a text encoder on behaviour: texts that people turn to together come close.

In each batch the neighbours of a text in the graph of behaviour are its positives, by their weight, and all other texts
its negatives: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018), with
several positives as in Khosla et al., "Supervised Contrastive Learning" (2020).

Shape legend: B texts, L tokens, D dimensions.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from transformers import AutoModel

from mmrec_lib.encoders.text.sentence_head import pooled
from mmrec_lib.encoders.text.sentence_layout import SentenceLayout
from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.errors import EncoderError, RecipeError
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.encoder_directory import save_encoder
from mmrec_lib.recipes.epochs import Course, Steps, train_epochs
from mmrec_lib.recipes.frozen_layers import FrozenLayers, encoder_layers
from mmrec_lib.recipes.lora import add_adapters, merge_adapters
from mmrec_lib.text.well_formed import well_formed

Floats = npt.NDArray[np.float32]
_CHARACTERS_PER_TOKEN = 16
_ENCODED_TOGETHER = 32


class TextAdapter:
    """A text encoder that is trained; its vectors have length 1."""

    def __init__(self, directory: Path, config: AdaptationConfig, layout: SentenceLayout, device: str = "cpu") -> None:
        """Load the encoder and put adapters on it.

        Args:
            directory: The encoder as it is.
            config: How it is trained.
            layout: How its token vectors become one, and its prompt.
            device: What is computed on.

        Raises:
            RecipeError: When the directory is unsafe or holds no text model, or has nothing to adapt.
        """
        self.directory, self.config, self.device, self._layout = directory, config, device, layout
        if layout.dense:
            raise RecipeError(
                f"Encoder `{config.encoder}` cannot be adapted: one without layers behind its pooling is needed, got "
                f"{len(layout.dense)} of them."
            )
        torch.manual_seed(config.seed)
        try:
            require_safe(directory)
            self.model = load_model(AutoModel, directory, torch.float32, unused=("pooler.",))
            self.tokenizer = load_tokenizer(directory)
        except (EncoderError, OSError, ValueError, KeyError) as error:
            raise RecipeError(f"Encoder `{config.encoder}` cannot be adapted: {error}") from None
        self._frozen: FrozenLayers | None = None
        self._is_kept = False
        if config.rank is None:
            self.model.requires_grad_(True)
        else:
            layers = encoder_layers(self.model)
            num_frozen = 0 if config.trained_layers is None else max(len(layers) - config.trained_layers, 0)
            add_adapters(self.model, layers, num_frozen, config.rank, config.scale)
            self._layers, self._num_frozen = layers, num_frozen
            self._frozen = FrozenLayers(layers, num_frozen)
        self.model.to(device)
        self._pad_id = int(self.tokenizer.pad_token_id or 0)
        self._tokens: list[list[int]] = []

    def renew(self) -> None:
        """Merge the adapters into the weights, and put new ones on, which change nothing yet: for another step."""
        if self.config.rank is None:
            return
        merge_adapters(self.model)
        torch.manual_seed(self.config.seed)
        add_adapters(self.model, self._layers, self._num_frozen, self.config.rank, self.config.scale)
        self.model.to(self.device)

    def with_model(self, model: Any) -> TextAdapter:
        """Another network without adapters that reads texts as this one does; it knows no texts yet."""
        other = copy.copy(self)
        other.model, other._frozen, other._is_kept, other._tokens = model.to(self.device), None, False, []
        return other

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return int(self.model.config.hidden_size)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Weights that change, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def tokenized(self, texts: Sequence[str]) -> Any:
        """Texts as the tokenizer divides them, cut at `max_tokens`."""
        most = self.config.max_tokens
        cut = [self._layout.prompt + well_formed(text[: most * _CHARACTERS_PER_TOKEN]) for text in texts]
        return self.tokenizer(cut, truncation=True, max_length=most)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts."""
        return [one or [self._pad_id] for one in self.tokenized(texts)["input_ids"]]

    def read(self, texts: Sequence[str]) -> None:
        """Take the texts that later calls name by their number; what their frozen layers give is kept, if it fits."""
        self._tokens = self.tokens(texts)
        num_tokens = sum(map(len, self._tokens))
        if self._frozen is None or not self._frozen.fits(num_tokens, self.dim):
            return
        self.model.eval()
        for numbers in self._by_length(range(len(self._tokens))):
            lengths = [len(self._tokens[number]) for number in numbers]
            self._frozen.capture(functools.partial(self.hidden, *self._padded(numbers)), numbers, lengths)
        self._is_kept = True

    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of texts `[B, D]`, of length 1."""
        ids_BL, mask_BL = self._padded(numbers)
        with self._frozen.entered(numbers, ids_BL.shape[1]) if self._is_kept and self._frozen else nullcontext():
            hidden_BLD = self.hidden(ids_BL, mask_BL)
        return nn.functional.normalize(pooled(hidden_BLD, mask_BL, self._layout.pooling), dim=1)

    def encode(self, numbers: Sequence[int]) -> Floats:
        """Vectors of texts without training: `[num_texts, D]`."""
        self.model.eval()
        place = {number: row for row, number in enumerate(numbers)}
        found = np.zeros((len(numbers), self.dim), np.float32)
        with torch.inference_mode():
            for chosen in self._by_length(numbers):
                found[[place[number] for number in chosen]] = self.vectors(chosen).cpu().numpy()
        return found

    def hidden(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Token vectors `[B, L, D]`."""
        hidden_BLD: Tensor = self.model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        return hidden_BLD

    def _padded(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.padded([self._tokens[number] for number in numbers])

    def padded(self, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask of a batch, `[B, L]` each."""
        ids_BL = torch.full((len(tokens), max(map(len, tokens))), self._pad_id)
        mask_BL = torch.zeros_like(ids_BL)
        for row, ids in enumerate(tokens):
            ids_BL[row, : len(ids)] = torch.tensor(list(ids))
            mask_BL[row, : len(ids)] = 1
        return ids_BL.to(self.device), mask_BL.to(self.device)

    def _by_length(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Batches of texts of about the same length."""
        order = sorted(numbers, key=lambda number: len(self._tokens[number]))
        return (order[start : start + _ENCODED_TOGETHER] for start in range(0, len(order), _ENCODED_TOGETHER))

    def fit(
        self, weights: csr_array, validate: Callable[[], float], checkpoints: EpochCheckpoints | None = None
    ) -> Course:
        """Train until validation gets no better, and end with the weights of the best epoch.

        Args:
            weights: The graph of the texts that were read: how much two of them belong together.
            validate: Score of the encoder as it is now, higher is better.
            checkpoints: Where a killed run goes on from; None keeps nothing on disk.
        """
        config = self.config
        nodes = np.flatnonzero(np.diff(weights.indptr) > 0)
        if len(nodes) < config.batch_size:
            raise RecipeError(
                f"Adaptation of `{config.encoder}`: at least {config.batch_size} texts with a neighbour are needed "
                f"(adaptation.batch_size), got {len(nodes)}: too few people turned to the same items."
            )
        num_batches = max(2 * len(nodes) // config.batch_size, 1)
        steps = Steps(self.trained, config.learning_rate, config.max_epochs * num_batches)

        def epoch_of(epoch: int) -> float:
            rng = np.random.default_rng([config.seed, epoch])
            torch.manual_seed(config.seed * 1_000_003 + epoch)
            # Dropout stays off: few texts see few steps, and positives differ from text to text already.
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

    def _loss(self, batch: npt.NDArray[np.intp], weights: csr_array) -> Tensor:
        vectors_BD = self.vectors(batch.tolist())
        logits_BB = vectors_BD @ vectors_BD.T / self.config.temperature
        logits_BB = logits_BB.masked_fill(torch.eye(len(batch), dtype=torch.bool, device=self.device), -1e4)
        wanted_BB = torch.from_numpy(weights[batch][:, batch].toarray()).to(self.device)
        sums_B = wanted_BB.sum(1)
        has_any = sums_B > 0
        target_BB = wanted_BB[has_any] / sums_B[has_any].unsqueeze(1)
        return nn.functional.cross_entropy(logits_BB[has_any], target_BB)

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


def _batch(
    nodes: npt.NDArray[np.intp], weights: csr_array, size: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Texts of a step: some in their order, and for each a neighbour by its weight; none twice."""
    chosen = dict[int, None]()
    for node in nodes[: size // 2].tolist():
        start, end = weights.indptr[node], weights.indptr[node + 1]
        own = weights.data[start:end]
        neighbour = int(rng.choice(weights.indices[start:end], p=own / own.sum()))
        chosen |= {node: None, neighbour: None}
    return np.array(list(chosen), np.intp)
