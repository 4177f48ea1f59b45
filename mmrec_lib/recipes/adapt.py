"""Text encoders that are trained on behaviour; see `Adapter`.

Shape legend: B texts, L tokens, D dimensions.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from mmrec_lib.encoders.text.sentence_head import pooled
from mmrec_lib.encoders.text.sentence_layout import SentenceLayout
from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.errors import EncoderError
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapter import ENCODED_TOGETHER, Adapter, refused
from mmrec_lib.recipes.frozen_layers import encoder_layers
from mmrec_lib.text.well_formed import well_formed

_CHARACTERS_PER_TOKEN = 16


class TextAdapter(Adapter):
    """A text encoder that is trained; its vectors have length 1."""

    contents = "texts"

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
        self._layout = layout
        if layout.dense:
            raise refused(config, f"one without layers behind its pooling is needed, got {len(layout.dense)} of them.")
        torch.manual_seed(config.seed)
        try:
            require_safe(directory)
            model = load_model(AutoModel, directory, torch.float32, unused=("pooler.",))
            self.tokenizer = load_tokenizer(directory)
        except (EncoderError, OSError, ValueError, KeyError) as error:
            raise refused(config, error) from None
        super().__init__(directory, config, model, device)
        if config.rank is None:
            self.model.requires_grad_(True)
        else:
            self.adapt_layers(encoder_layers(self.model))
        self.model.to(device)
        self._pad_id = int(self.tokenizer.pad_token_id or 0)
        self._tokens: list[list[int]] = []
        self._is_kept = False

    def with_model(self, model: Any) -> TextAdapter:
        """Another network without adapters that reads texts as this one does; it knows no texts yet."""
        other = copy.copy(self)
        other.model, other._frozen, other._is_kept, other._tokens = model.to(self.device), None, False, []
        return other

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return int(self.model.config.hidden_size)

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
        for numbers in self.batches(range(len(self._tokens))):
            lengths = [len(self._tokens[number]) for number in numbers]
            self._frozen.capture(functools.partial(self.hidden, *self._padded(numbers)), numbers, lengths)
        self._is_kept = True

    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of texts `[B, D]`, of length 1."""
        ids_BL, mask_BL = self._padded(numbers)
        with self._frozen.entered(numbers, ids_BL.shape[1]) if self._is_kept and self._frozen else nullcontext():
            hidden_BLD = self.hidden(ids_BL, mask_BL)
        return nn.functional.normalize(pooled(hidden_BLD, mask_BL, self._layout.pooling), dim=1)

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

    def batches(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Batches of texts of about the same length."""
        order = sorted(numbers, key=lambda number: len(self._tokens[number]))
        return (order[start : start + ENCODED_TOGETHER] for start in range(0, len(order), ENCODED_TOGETHER))
