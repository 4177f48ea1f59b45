"""Texts → vectors, with any BERT-like, decoder-only (GPT-like) or T5-like model directory.

Reimers and Gurevych, Sentence-BERT (2019): the vector of a text is the mean of its token vectors, with length 1.
Of decoder-only models, whose last token has seen the whole text, it is that token's where `pooling` is `last`.

Shape legend: B rows, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoModelForTextEncoding

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.directory import read_model_config
from mmrec_lib.encoders.errors import NOT_FINITE, TEXT_UNKNOWN
from mmrec_lib.encoders.loading import load_model, load_tokenizer
from mmrec_lib.encoders.plain_text import refusal, well_formed
from mmrec_lib.encoders.precision import compute_dtype
from mmrec_lib.encoders.sentence_head import SentenceHead
from mmrec_lib.encoders.sentence_layout import sentence_layout
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.errors import EncoderError

# Texts are cut here before they are cut into tokens, so that a megabyte without an end costs no more than its windows.
_MOST_CHARACTERS_PER_TOKEN = 16
# Of these an encoder and a decoder are in the directory, and only the encoder is loaded.
_WITH_DECODER = frozenset({"t5", "mt5", "umt5"})


class TextEncoder:
    """Encodes texts; see the `Encoder` protocol.

    Texts of about the same length are computed together, so little is wasted on padding. The padded length follows from
    the text alone (see `padded_length`), and so does the shape of the batch it is computed in
    (`batch_tokens` divided by that length; missing rows are filled up): the same kernels see it whatever its
    neighbours are, and its vector has the same bits.
    """

    def __init__(self, spec: EncoderSpec, config: EncoderConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        self._layout = sentence_layout(config, directory)
        self._model: Any = None
        self._head: Any = None
        self._tokenizer: Any = None
        self._special_ids: frozenset[int] = frozenset()
        self._num_prompt_tokens = 0
        self._pad_id = 0
        self._dim = spec.dim or 0
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
        with_decoder = read_model_config(self._directory).get("model_type") in _WITH_DECODER
        factory = AutoModelForTextEncoding if with_decoder else AutoModel
        try:
            self._tokenizer = load_tokenizer(self._directory)
            # The part that makes one vector of a BERT's first token is not used here.
            model = load_model(factory, self._directory, torch.float32, unused=("pooler.",))
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(
                f"Text encoder `{self._spec.id}`: `{self._directory}` must hold a BERT-like, decoder-only or T5-like "
                f"model with its tokenizer, got: {error}."
            ) from None
        model.config.use_cache = False
        self._model, self._head = model.to(device), SentenceHead(self._layout).to(device)
        self._device, self._dtype = device, compute_dtype(self._config.dtype, "text", device)
        limits = (self._config.max_tokens, self._layout.max_tokens, _num_positions(model))
        self._max_tokens = min(limit for limit in limits if limit)
        self._check_output()

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of texts: `[n, dim] float32`; an empty text is a row with an error.

        A text longer than the model's window is read in windows, and its vector is the mean over all their tokens. A
        text of which the model knows nothing (all its tokens are unknown or dropped, as a text of emoji may be to an
        English model) is a row with an error too: all such texts would get the same vector.
        """
        errors: list[str | None] = [refusal(text) for text in batch]
        rows = [row for row, error in enumerate(errors) if error is None]
        for row in rows:
            errors[row] = TEXT_UNKNOWN
        vectors = np.zeros((len(batch), self._dim), np.float32)
        for owners, weights_B1, pooled_BD in self._encoded([str(batch[row]) for row in rows]):
            np.add.at(vectors, [rows[owner] for owner in owners], weights_B1 * pooled_BD)
            for owner in owners:
                errors[rows[owner]] = None
        if self._layout.normalise:
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
        if not owners:
            return
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
        """Token ids of each window, with the index of its text; special tokens are in every window.

        The prompt is in the first. Texts of which no token is known have no window.
        """
        most_characters = self._config.max_windows * self._max_tokens * _MOST_CHARACTERS_PER_TOKEN
        encoded = self._tokenizer(
            [self._layout.prompt + well_formed(text[:most_characters]) for text in texts],
            truncation=True,
            max_length=self._max_tokens,
            return_overflowing_tokens=True,
        )
        owners, windows = list[int](), list[list[int]]()
        counts = np.zeros(len(texts), np.int64)
        for owner, ids in zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True):
            if counts[owner] == 0 and not self._knows_any(ids):
                counts[owner] = self._config.max_windows
            counts[owner] += 1
            if counts[owner] <= self._config.max_windows:
                owners.append(owner)
                windows.append(ids)
        return owners, windows

    def _prepare_tokenizer(self) -> None:
        # Windows are cut from the left and padded on the right here, whatever the directory is set to for generation.
        self._tokenizer.truncation_side = "right"
        pad_id = self._tokenizer.pad_token_id
        num_known = self._model.get_input_embeddings().num_embeddings
        # Nothing attends to padding, so any id will do where there is none, or none that the network has a row for.
        self._pad_id = pad_id if pad_id is not None and pad_id < num_known else 0
        prompt_ids = self._tokenizer(self._layout.prompt, add_special_tokens=False)["input_ids"]
        self._special_ids = frozenset(self._tokenizer.all_special_ids)
        self._num_prompt_tokens = sum(token not in self._special_ids for token in prompt_ids)

    def _knows_any(self, ids: list[int]) -> bool:
        """Whether a first window has a token of the text that is neither special nor unknown."""
        known = (token for token in ids if token not in self._special_ids)
        return next(islice(known, self._num_prompt_tokens, None), None) is not None

    def _check_output(self) -> None:
        needed = f"a model that turns token ids into vectors of {self._spec.dim or 'any'} numbers is needed"
        try:
            self._prepare_tokenizer()
            ids = self._tokenizer("a text")["input_ids"][: self._max_tokens] or [self._pad_id]
            self._dim = self._forward([ids], 1, padded_length(len(ids), self._max_tokens)).shape[1]
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise EncoderError(f"Text encoder `{self._spec.id}`: {needed}, got: {error}.") from None
        if self._spec.dim not in (None, self._dim):
            raise EncoderError(f"Text encoder `{self._spec.id}`: {needed}, got {self._dim}.")

    def _forward(self, tokens: list[list[int]], num_rows: int, padded: int) -> npt.NDArray[np.float32]:
        ids_BL = torch.full((num_rows, padded), self._pad_id, dtype=torch.long)
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
            pooled_BD = self._head(hidden_BLD, mask_BL)
        result: npt.NDArray[np.float32] = pooled_BD[: len(tokens)].cpu().numpy()
        return result


def padded_length(num_tokens: int, max_tokens: int) -> int:
    """Length that a text is padded to: few different ones, and a tenth of padding on average.

    Never more than `max_tokens`, which need not be a multiple of a step.
    """
    step = 8 if num_tokens <= 64 else 16 if num_tokens <= 128 else 32
    return min(-(-num_tokens // step) * step, max_tokens)


def _num_positions(model: Any) -> int | None:
    """Longest input of a network; None where positions are relative.

    Families after RoBERTa count positions from behind the one of padding: 514 of them hold 512 tokens.
    """
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings) - int(module.padding_idx) - 1
    return positions
