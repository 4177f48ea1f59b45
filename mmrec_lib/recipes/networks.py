"""Networks of recipes: a pretrained text encoder under a small head, alone, per token, or beside an image.

Shape legend: B rows, L tokens, D dimensions, C classes, H hidden units, V dimensions of an image's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mmrec_lib.recipes.examples import Example
from mmrec_lib.recipes.frozen_layers import encoder_layers
from mmrec_lib.text.well_formed import well_formed

HIDDEN = 64
_SHARPNESS = 10.0
MOST_CHARACTERS_PER_TOKEN = 16
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Prepared:
    """An example as a network reads it.

    Attributes:
        ids: Token or word ids.
        types: 0 for tokens of the first text, 1 for those of the second.
        offsets: First character and end of each token; (0, 0) for special ones.
        image: See `Example.image`.
    """

    ids: list[int]
    types: list[int]
    offsets: list[tuple[int, int]]
    image: Any


class RecipeNetwork(Protocol):
    """A network that reads examples: prepared once, collated into batches, judged.

    `forward` gives logits `[B, C]`, of a tagger `[B, L, C]`.
    """

    def prepare(self, examples: Sequence[Example]) -> list[Prepared]:
        """Examples as the network reads them."""

    def collate(self, rows: Sequence[Prepared]) -> Tensors:
        """A batch, by the names of the arguments of `forward`."""


class EncoderNetwork(nn.Module):
    """A text encoder with a head: of the mean of its tokens, of each token, or of the mean beside an image's vector.

    The head of a pair compares each token of the second text with what it matches in the first: Parikh, Täckström, Das
    and Uszkoreit, "A Decomposable Attention Model for Natural Language Inference" (2016). That of text and image sees
    both through a layer of their own and mixes them in two more, so that what counts may be their meeting and not only
    their sum.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        num_outputs: int,
        *,
        max_tokens: int,
        per_token: bool = False,
        is_pair: bool = False,
        image_dim: int = 0,
    ) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.per_token, self.is_pair, self.image_dim = per_token, is_pair, image_dim
        dim = int(encoder.config.hidden_size)
        if image_dim:
            self.of_text: nn.Module = nn.Linear(dim, HIDDEN)
            self.of_image: nn.Module = nn.Linear(image_dim, HIDDEN)
            self.head: nn.Module = nn.Sequential(
                nn.ReLU(), nn.Linear(2 * HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_outputs)
            )
            self.register_buffer("image_mean", torch.zeros(image_dim))
            self.register_buffer("image_std", torch.ones(image_dim))
        elif is_pair:
            self.compare = nn.Sequential(nn.Linear(3 * dim, HIDDEN), nn.ReLU())
            self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(2 * HIDDEN, HIDDEN), nn.ReLU())
            self.head.append(nn.Linear(HIDDEN, num_outputs))
        else:
            self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(dim, num_outputs))
        self.tokenizer, self._max_tokens = tokenizer, max_tokens
        pad_id = tokenizer.pad_token_id
        self._pad_id = 0 if pad_id is None else int(pad_id)
        self._has_types = int(getattr(encoder.config, "type_vocab_size", 0) or 0) > 1

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, types_BL: Tensor, image_BV: Tensor | None = None) -> Tensor:
        """Logits `[B, C]`, of a tagger `[B, L, C]`."""
        types = {"token_type_ids": types_BL} if self._has_types else {}
        hidden_BLD = self.encoder(input_ids=ids_BL, attention_mask=mask_BL, **types).last_hidden_state
        if self.per_token:
            logits: Tensor = self.head(hidden_BLD)
            return logits
        if self.is_pair:
            logits = self.head(self._compared(hidden_BLD, mask_BL, types_BL))
            return logits
        weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        mean_BD = (hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1).clamp(min=1)
        if image_BV is not None:
            scaled_BV = (image_BV - self.image_mean) / self.image_std
            mean_BD = torch.cat([self.of_text(mean_BD), self.of_image(scaled_BV)], dim=1)
        logits = self.head(mean_BD)
        return logits

    def _compared(self, hidden_BLD: Tensor, mask_BL: Tensor, types_BL: Tensor) -> Tensor:
        """Tokens of the second text beside what they match in the first, pooled by mean and maximum: `[B, 2 H]`."""
        is_second_BL = mask_BL.bool() & (types_BL == 1)
        # The first token stands for a first text that is empty.
        is_first_BL = mask_BL.bool() & (types_BL == 0)
        unit_BLD = nn.functional.normalize(hidden_BLD, dim=2)
        cosine_BLL = _SHARPNESS * unit_BLD @ unit_BLD.transpose(1, 2)
        attention_BLL = torch.softmax(cosine_BLL.masked_fill(~is_first_BL.unsqueeze(1), -1e4), dim=2)
        match_BLD = attention_BLL @ unit_BLD
        compared_BLH = self.compare(torch.cat([unit_BLD * match_BLD, unit_BLD - match_BLD, unit_BLD], dim=2))
        weight_BL1 = is_second_BL.unsqueeze(2).to(compared_BLH.dtype)
        # Outputs of ReLU are not negative, so what is left out is the least.
        kept_BLH = compared_BLH * weight_BL1
        mean_BH = kept_BLH.sum(1) / weight_BL1.sum(1).clamp(min=1)
        return torch.cat([mean_BH, kept_BLH.amax(1)], dim=1)

    def learn_scale(self, rows: Sequence[Prepared]) -> None:
        """Centre and spread of the images of train, which later ones are scaled by."""
        if self.image_dim:
            image_NV = torch.stack([self._image(row) for row in rows])
            self.image_mean.copy_(image_NV.mean(0))
            self.image_std.copy_(image_NV.std(0, correction=0).clamp(min=1e-6))

    def prepare(self, examples: Sequence[Example]) -> list[Prepared]:
        """Token ids of the text, and of the other text after it; the longer one is cut first."""
        first, second = self._tokens([one.text for one in examples]), self._tokens([one.other for one in examples])
        begin, end = self._special("cls_token_id", "bos_token_id"), self._special("sep_token_id", "eos_token_id")
        prepared = []
        for one, (ids, offsets), (more, _) in zip(examples, first, second, strict=True):
            room = self._max_tokens - len(begin) - len(end) * (1 if one.other is None else 2)
            kept = _lengths(len(ids), len(more), room)
            head, tail = ids[: kept[0]], more[: kept[1]] + end if one.other is not None else []
            all_ids = begin + head + end + tail
            types = [0] * (len(all_ids) - len(tail)) + [1] * len(tail)
            places = [(0, 0)] * len(begin) + offsets[: kept[0]] + [(0, 0)] * (len(end) + len(tail))
            prepared.append(Prepared(all_ids or [self._pad_id], types or [0], places or [(0, 0)], one.image))
        return prepared

    def collate(self, rows: Sequence[Prepared]) -> Tensors:
        """Padded ids, mask and types `[B, L]`, and images `[B, V]` where they are read."""
        length = max(len(row.ids) for row in rows)
        ids_BL = torch.full((len(rows), length), self._pad_id)
        mask_BL, types_BL = torch.zeros_like(ids_BL), torch.zeros_like(ids_BL)
        for number, row in enumerate(rows):
            ids_BL[number, : len(row.ids)] = torch.tensor(row.ids)
            types_BL[number, : len(row.ids)] = torch.tensor(row.types)
            mask_BL[number, : len(row.ids)] = 1
        batch = {"ids_BL": ids_BL, "mask_BL": mask_BL, "types_BL": types_BL}
        return {**batch, "image_BV": torch.stack([self._image(row) for row in rows])} if self.image_dim else batch

    def _image(self, row: Prepared) -> Tensor:
        # What has no image has that of nobody: the centre.
        return self.image_mean.float().cpu() if row.image is None else torch.from_numpy(np.array(row.image, np.float32))

    def _tokens(self, texts: Sequence[str | None]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        most = self._max_tokens * MOST_CHARACTERS_PER_TOKEN
        encoded = self.tokenizer(
            [well_formed((text or "")[:most]) for text in texts],
            add_special_tokens=False,
            truncation=True,
            max_length=self._max_tokens,
            return_offsets_mapping=True,
        )
        return [
            (list(ids), [(int(start), int(end)) for start, end in offsets])
            for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def _special(self, *names: str) -> list[int]:
        known = [token for name in names if (token := getattr(self.tokenizer, name, None)) is not None]
        return [int(known[0])] if known else []


def train_last_layers(encoder: nn.Module, num_layers: int | None) -> None:
    """Freeze an encoder but for its last layers; None trains it whole."""
    if num_layers is None:
        return
    encoder.requires_grad_(False)
    layers = encoder_layers(encoder)
    for layer in list(layers)[max(len(layers) - num_layers, 0) :]:
        layer.requires_grad_(True)


def _lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """Tokens that stay of two texts: the longer one gives first."""
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)
