"""Texts as the text tower of a joint space reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmrec_lib.encoders.image.networks import Towers
from mmrec_lib.encoders.text.refusal import refusal
from mmrec_lib.encoders.text.transformer import MOST_CHARACTERS_PER_TOKEN
from mmrec_lib.text.well_formed import well_formed


class TowerTokens:
    """Tokens of texts, cut at the longest that the model was trained on, as `TowersEncoder` cuts them.

    A tower that is told which tokens are padding gets a batch padded to its longest text, any other one as the model
    was trained: to the longest of all.
    """

    def __init__(self, tokenizer: Any, towers: Towers, device: str) -> None:
        self._tokenizer, self._device = tokenizer, device
        self._max_tokens, self._inputs = towers.max_tokens, towers.text_inputs
        self._is_masked = "attention_mask" in towers.text_inputs
        self._pad_id = int(tokenizer.pad_token_id or 0)

    def of(self, texts: Sequence[str | None]) -> list[list[int] | None]:
        """Token ids of texts; None of a text that is missing or empty, or of which no token is known."""
        special = set(self._tokenizer.all_special_ids)
        found: list[list[int] | None] = [None] * len(texts)
        rows = [row for row, text in enumerate(texts) if refusal(text) is None]
        if not rows:
            return found
        most = self._max_tokens * MOST_CHARACTERS_PER_TOKEN
        cut = [well_formed(str(texts[row])[:most]) for row in rows]
        padding = False if self._is_masked else "max_length"
        tokens = self._tokenizer(cut, padding=padding, truncation=True, max_length=self._max_tokens)["input_ids"]
        for row, ids in zip(rows, tokens, strict=True):
            if not special.issuperset(ids):
                found[row] = list(ids)
        return found

    def vectors(self, network: Callable[..., Any], tokens: Sequence[Sequence[int]]) -> Tensor:
        """Output of a text tower for a batch, `[B, D]`."""
        ids_BL = torch.full((len(tokens), max(map(len, tokens))), self._pad_id)
        mask_BL = torch.zeros_like(ids_BL)
        for row, ids in enumerate(tokens):
            ids_BL[row, : len(ids)] = torch.tensor(list(ids))
            mask_BL[row, : len(ids)] = 1
        given = {"input_ids": ids_BL.to(self._device), "attention_mask": mask_BL.to(self._device)}
        vectors_BD: Tensor = network(**{name: given[name] for name in self._inputs})
        return vectors_BD
