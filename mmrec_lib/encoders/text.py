"""Texts → vectors, with any BERT-like model directory.

Reimers and Gurevych, Sentence-BERT (2019): the vector of a text is the mean of its token vectors, with length 1.

Shape legend: B rows, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE, TEXT_EMPTY, TEXT_MISSING
from mmrec_lib.encoders.loading import load_model, load_tokenizer
from mmrec_lib.encoders.precision import compute_dtype
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.errors import EncoderError

# Texts are cut here before they are cut into tokens, so that a megabyte without an end costs no more than its windows.
_MOST_CHARACTERS_PER_TOKEN = 16


class TextEncoder:
    """Encodes texts; see the `Encoder` protocol.

    Texts of about the same length are computed together, so little is wasted on padding. The padded length follows from
    the text alone (see `padded_length`), and so does the shape of the batch it is computed in
    (`batch_tokens` divided by that length; missing rows are filled up): the same kernels see it whatever its
    neighbours are, and its vector has the same bits.
    """

    def __init__(self, spec: EncoderSpec, config: EncoderConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        self._model: Any = None
        self._tokenizer: Any = None
        self._device = "cpu"
        self._dtype = torch.float32
        self._max_tokens = config.max_tokens

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads tokenizer and weights.

        Raises:
            EncoderError: When the directory holds no model that transformers can load.
        """
        torch.set_num_threads(self._threads)
        try:
            self._tokenizer = load_tokenizer(self._directory)
            # The part that makes one vector of a BERT's first token is not used here.
            model = load_model(AutoModel, self._directory, torch.float32, unused=("pooler.",))
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(
                f"Text encoder `{self._spec.id}`: `{self._directory}` must hold a BERT-like model with its tokenizer, "
                f"got: {error}."
            ) from None
        self._model = model.to(device)
        self._device, self._dtype = device, compute_dtype(self._config.dtype, "text", device)
        positions = getattr(model.config, "max_position_embeddings", None)
        self._max_tokens = min(self._config.max_tokens, positions or self._config.max_tokens)
        self._check_output()

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of texts: `[n, dim] float32`; an empty text is a row with an error.

        A text longer than the model's window is read in windows, and its vector is the mean over all their tokens.
        """
        errors: list[str | None] = [_refusal(text) for text in batch]
        rows = [row for row, error in enumerate(errors) if error is None]
        vectors: npt.NDArray[np.float32] | None = None
        for owners, weights_B1, pooled_BD in self._encoded([str(batch[row]) for row in rows]):
            if vectors is None:
                vectors = np.zeros((len(batch), pooled_BD.shape[1]), np.float32)
            np.add.at(vectors, [rows[owner] for owner in owners], weights_B1 * pooled_BD)
        if vectors is None:
            vectors = np.zeros((len(batch), self._spec.dim or 0), np.float32)
        if self._config.normalise:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            vectors[row], errors[row] = 0.0, NOT_FINITE
        return EncodeResult(vectors, errors)

    def _encoded(
        self, texts: list[str]
    ) -> Iterator[tuple[list[int], npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Groups of windows: index into `texts`, share of the text's tokens `[B, 1]`, vector `[B, D]`."""
        if not texts:
            return
        if self._model is None:
            raise EncoderError(f"Text encoder `{self._spec.id}`: call load() before encode().")
        owners, windows = self._windows(texts)
        lengths = np.array([len(ids) for ids in windows], np.float32)
        shares: npt.NDArray[np.float32] = (lengths / np.bincount(owners, lengths)[owners]).astype(np.float32)
        by_length: dict[int, list[int]] = {}
        for index, ids in enumerate(windows):
            by_length.setdefault(padded_length(len(ids), self._max_tokens), []).append(index)
        for padded, indices in sorted(by_length.items()):
            num_rows = max(1, self._config.batch_tokens // padded)
            for start in range(0, len(indices), num_rows):
                group = indices[start : start + num_rows]
                pooled_BD = self._forward([windows[index] for index in group], num_rows, padded)
                yield [owners[index] for index in group], shares[group].reshape(-1, 1), pooled_BD

    def _windows(self, texts: list[str]) -> tuple[list[int], list[list[int]]]:
        """Token ids of each window, with the index of its text; special tokens are in every window."""
        most_characters = self._config.max_windows * self._max_tokens * _MOST_CHARACTERS_PER_TOKEN
        encoded = self._tokenizer(
            [text[:most_characters] for text in texts],
            truncation=True,
            max_length=self._max_tokens,
            return_overflowing_tokens=True,
        )
        owners, windows = list[int](), list[list[int]]()
        counts = np.zeros(len(texts), np.int64)
        for owner, ids in zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True):
            counts[owner] += 1
            if counts[owner] <= self._config.max_windows:
                owners.append(owner)
                windows.append(ids)
        return owners, windows

    def _check_output(self) -> None:
        needed = f"a model that turns token ids into vectors of {self._spec.dim or 'any'} numbers is needed"
        try:
            _, _, vectors_BD = next(self._encoded(["a text"]))
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise EncoderError(f"Text encoder `{self._spec.id}`: {needed}, got: {error}.") from None
        if self._spec.dim not in (None, vectors_BD.shape[1]):
            raise EncoderError(f"Text encoder `{self._spec.id}`: {needed}, got {vectors_BD.shape[1]}.")

    def _forward(self, tokens: list[list[int]], num_rows: int, padded: int) -> npt.NDArray[np.float32]:
        ids_BL = torch.full((num_rows, padded), self._tokenizer.pad_token_id or 0, dtype=torch.long)
        mask_BL = torch.zeros((num_rows, padded), dtype=torch.long)
        mask_BL[:, 0] = 1  # Rows that only fill the batch up attend to one token, so that nothing divides by zero.
        for row, ids in enumerate(tokens):
            ids_BL[row, : len(ids)] = torch.tensor(ids)
            mask_BL[row, : len(ids)] = 1
        ids_BL, mask_BL = ids_BL.to(self._device), mask_BL.to(self._device)
        uses_bfloat16 = self._dtype == torch.bfloat16
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=uses_bfloat16):
            hidden_BLD = self._model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        with torch.inference_mode():
            hidden_BLD = hidden_BLD.float()
            if self._config.pooling == "cls":
                pooled_BD = hidden_BLD[:, 0]
            else:
                weight_BL1 = mask_BL.unsqueeze(-1).float()
                pooled_BD = (hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)
        result: npt.NDArray[np.float32] = pooled_BD[: len(tokens)].cpu().numpy()
        return result


def padded_length(num_tokens: int, max_tokens: int) -> int:
    """Length that a text is padded to: few different ones, and a tenth of padding on average.

    Never more than `max_tokens`, which need not be a multiple of a step.
    """
    step = 8 if num_tokens <= 64 else 16 if num_tokens <= 128 else 32
    return min(-(-num_tokens // step) * step, max_tokens)


def _refusal(text: EncoderInput) -> str | None:
    if not isinstance(text, str):
        return TEXT_MISSING
    return None if text.strip() else TEXT_EMPTY
