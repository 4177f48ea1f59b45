"""Vectors of texts by a directory in transformers format, as plain as a served model needs them.

Shape legend: B texts, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import AutoModel

from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.sentence_head import SentenceHead
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.text.well_formed import well_formed

_CHARACTERS_PER_TOKEN = 16
_ENCODED_TOGETHER = 32


class TextVectors:
    """A text encoder in float32; texts above its window are cut, where the encoders of the pipeline read on."""

    def __init__(self, directory: Path) -> None:
        """Load a directory.

        Args:
            directory: Folder in transformers format, with or without the layout of sentence-transformers.

        Raises:
            EncoderError: When it could run code, or asks for a step that is not supported.
            OSError: When files are missing.
            ValueError: When weights are missing or damaged.
        """
        require_safe(directory)
        config = TextConfig(directory=directory.name)
        self._layout = sentence_layout(config, directory)
        self._model = load_model(AutoModel, directory, torch.float32, unused=("pooler.",))
        self._head = SentenceHead(self._layout)
        self._tokenizer: Any = load_tokenizer(directory)
        positions = getattr(self._model.config, "max_position_embeddings", None) or config.max_tokens
        self._max_tokens = min(self._layout.max_tokens or config.max_tokens, config.max_tokens, int(positions))
        self._pad_id = int(self._tokenizer.pad_token_id or 0)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors `[num_texts, D]`."""
        most = self._max_tokens * _CHARACTERS_PER_TOKEN
        cut = [self._layout.prompt + well_formed(text[:most]) for text in texts]
        tokens = self._tokenizer(cut, truncation=True, max_length=self._max_tokens)["input_ids"] if cut else []
        order = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
        made = [
            self._batch([tokens[number] or [self._pad_id] for number in order[start : start + _ENCODED_TOGETHER]])
            for start in range(0, len(order), _ENCODED_TOGETHER)
        ]
        if not made:
            return np.zeros((0, int(self._layout.dim or 0)), np.float32)
        return np.concatenate(made)[np.argsort(order)]

    def _batch(self, tokens: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        ids_BL = torch.full((len(tokens), max(map(len, tokens))), self._pad_id)
        mask_BL = torch.zeros_like(ids_BL)
        for row, ids in enumerate(tokens):
            ids_BL[row, : len(ids)] = torch.tensor(list(ids))
            mask_BL[row, : len(ids)] = 1
        with torch.inference_mode():
            vectors_BD = self._head(self._model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state, mask_BL)
            if self._layout.normalise:
                vectors_BD = nn.functional.normalize(vectors_BD, dim=1)
        vectors: npt.NDArray[np.float32] = vectors_BD.numpy()
        return vectors
