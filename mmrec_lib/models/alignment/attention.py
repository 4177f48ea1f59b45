"""Cross-attention between an item's modalities: how a fitted one makes one vector of them.

A layer of multi-head attention (Vaswani et al. 2017, Attention Is All You Need) over one token a modality, with a
residual; a modality that is missing is neither asked nor answers.

Shape letters: I items, M modalities, d dimensions of the joint space, H heads, E dimensions of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.data import Bools, Floats, row_blocks, unit_rows

_ITEMS_AT_ONCE = 8_192


@dataclass(frozen=True)
class CrossAttention:
    """A fitted layer.

    Attributes:
        kinds: [M, d] what tells a modality's token from another's.
        queries: [d, H, E].
        keys: [d, H, E].
        values: [d, H, E].
        output: [H, E, d].
    """

    kinds: Floats
    queries: Floats
    keys: Floats
    values: Floats
    output: Floats

    def joint(self, vectors: Mapping[str, Floats], modalities: Sequence[str], weights: Mapping[str, Floats]) -> Floats:
        """[I, d] vectors of length 1; zeros for items without any modality.

        Args:
            vectors: [I, d] of each modality, of length 1, zeros where an item lacks it.
            modalities: Names of the M modalities in the order of the fit; one that is not in `vectors` is missing.
            weights: [I] weight of a modality's answer in the sum; 1 where not named.
        """
        num_items = len(next(iter(vectors.values())))
        found = np.zeros((num_items, self.kinds.shape[1]), dtype=np.float32)
        for rows in row_blocks(num_items, _ITEMS_AT_ONCE):
            size = rows.stop - rows.start
            empty, even = np.zeros((size, found.shape[1]), np.float32), np.ones(size, np.float32)
            tokens = np.stack([vectors[name][rows] if name in vectors else empty for name in modalities], axis=1)
            shares = np.stack([weights[name][rows] if name in weights else even for name in modalities], axis=1)
            found[rows] = ((tokens + self._answers(tokens)) * shares[:, :, None]).sum(axis=1)
        return unit_rows(found)

    def _answers(self, tokens_IMd: Floats) -> Floats:
        """[I, M, d] what each token hears from those that are there; zeros where it is missing."""
        has_IM: Bools = tokens_IMd.astype(np.bool_).max(axis=2)
        told = tokens_IMd + self.kinds * has_IM[:, :, None]
        asked, offered = (np.einsum("imd,dhe->ihme", told, w) for w in (self.queries, self.keys))
        logits = np.einsum("ihme,ihne->ihmn", asked, offered) / np.sqrt(np.float32(asked.shape[-1]))
        logits = np.where(has_IM[:, None, None, :], logits, np.float32(-1e9))
        shares = np.exp(logits - logits.max(axis=3, keepdims=True))
        shares /= shares.sum(axis=3, keepdims=True)
        heard = np.einsum("ihmn,ihne->ihme", shares, np.einsum("imd,dhe->ihme", tokens_IMd, self.values))
        answers: Floats = np.einsum("ihme,hed->imd", heard, self.output) * has_IM[:, :, None]
        return answers.astype(np.float32)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Everything that it is, by name."""
        return {f"{prefix}{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> CrossAttention:
        """Rebuild from `arrays`."""
        return cls(**{field.name: arrays[f"{prefix}{field.name}"] for field in fields(cls)})
