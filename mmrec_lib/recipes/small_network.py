"""A small network from nothing: an embedding and an LSTM over words, convolutions over images, both concatenated.

Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997). Words are those of `text.tokenizer`, so that Chinese,
Japanese and Thai, which have no spaces, are segmented as well.

Shape legend: B rows, L words, E dimensions of a word, H hidden units, P pixels a side, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmrec_lib.recipes.examples import Example
from mmrec_lib.recipes.networks import HIDDEN, Prepared, Tensors
from mmrec_lib.text.tokenizer import tokenize
from mmrec_lib.text.well_formed import well_formed

PADDING, UNKNOWN = 0, 1
_WORD_DIM = 64
_CHANNELS = (8, 16, 32, 32)
# Of words that stand once nothing can be learned; they teach what an unknown word is.
_MIN_COUNT = 2


def learn_vocabulary(texts: Iterable[str], max_size: int) -> list[str]:
    """The most frequent words of texts, equally frequent ones by themselves; words that stand once are left out."""
    counts = Counter(word for text in texts for word in tokenize(well_formed(text)))
    ranked = sorted((word for word, count in counts.items() if count >= _MIN_COUNT), key=lambda w: (-counts[w], w))
    return ranked[:max_size]


class SmallNetwork(nn.Module):
    """Words and an image → classes; with two classes one output goes through a sigmoid."""

    def __init__(self, vocabulary: Sequence[str], num_classes: int, *, max_words: int, image_px: int = 0) -> None:
        """Build the layers.

        Args:
            vocabulary: Words that are known.
            num_classes: Classes, at least 2.
            max_words: Words of a text that count.
            image_px: Side of the images; 0 reads words alone.
        """
        super().__init__()
        self._ids = {word: number for number, word in enumerate(vocabulary, UNKNOWN + 1)}
        self._max_words, self._image_px = max_words, image_px
        self.is_binary = num_classes == 2
        self.words = nn.Embedding(len(vocabulary) + UNKNOWN + 1, _WORD_DIM, padding_idx=PADDING)
        self.lstm = nn.LSTM(_WORD_DIM, HIDDEN, batch_first=True)
        layers: list[nn.Module] = []
        for before, after in zip((3, *_CHANNELS), _CHANNELS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()) if image_px else None
        width = HIDDEN + (_CHANNELS[-1] if image_px else 0)
        self.dense = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(width, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 1 if self.is_binary else num_classes),
        )

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, image_B3PP: Tensor | None = None) -> Tensor:
        """Logits `[B, C]`; of two classes the first one's is 0, so that a softmax of both is the sigmoid of one."""
        hidden_BLH, _ = self.lstm(self.words(ids_BL))
        weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLH.dtype)
        mixed = (hidden_BLH * weight_BL1).sum(1) / weight_BL1.sum(1).clamp(min=1)
        if self.convolutions is not None and image_B3PP is not None:
            mixed = torch.cat([mixed, self.convolutions(image_B3PP.float() / 127.5 - 1)], dim=1)
        logits: Tensor = self.dense(mixed)
        return torch.cat([torch.zeros_like(logits), logits], dim=1) if self.is_binary else logits

    def prepare(self, examples: Sequence[Example]) -> list[Prepared]:
        """Word ids; a text without words has one unknown word."""
        prepared = []
        for one in examples:
            words = tokenize(well_formed(one.text))[: self._max_words]
            ids = [self._ids.get(word, UNKNOWN) for word in words] or [UNKNOWN]
            prepared.append(Prepared(ids, [0] * len(ids), [(0, 0)] * len(ids), one.image))
        return prepared

    def collate(self, rows: Sequence[Prepared]) -> Tensors:
        """Padded ids and mask `[B, L]`, and images `[B, 3, P, P]` where they are read; a missing one is grey."""
        length = max(len(row.ids) for row in rows)
        ids_BL = torch.full((len(rows), length), PADDING)
        for number, row in enumerate(rows):
            ids_BL[number, : len(row.ids)] = torch.tensor(row.ids)
        batch = {"ids_BL": ids_BL, "mask_BL": (ids_BL != PADDING).long()}
        if not self._image_px:
            return batch
        grey = torch.full((3, self._image_px, self._image_px), 128, dtype=torch.uint8)
        images = [grey if row.image is None else torch.from_numpy(np.array(row.image)) for row in rows]
        return {**batch, "image_B3PP": torch.stack(images)}
