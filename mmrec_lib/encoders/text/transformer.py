"""Texts → vectors, with any BERT-like, decoder-only (GPT-like) or T5-like model directory.

Reimers and Gurevych, Sentence-BERT (2019): the vector of a text is the mean of its token vectors, with length 1.
Of decoder-only models, whose last token has seen the whole text, it is that token's where `pooling` is `last`.

Shape legend: B rows, L tokens, D dimensions.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE, TEXT_UNKNOWN
from mmrec_lib.encoders.runtime.backend import InferenceFn, make_network
from mmrec_lib.encoders.runtime.machine_cache import cached
from mmrec_lib.encoders.runtime.precision import calibration_texts, choose_run
from mmrec_lib.encoders.runtime.prefetch import map_batches
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.refusal import refusal
from mmrec_lib.encoders.text.sentence_head import SentenceHead
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.encoders.weights.directory import read_model_config
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.errors import EncoderError
from mmrec_lib.text.well_formed import well_formed

# Texts are cut here before they are cut into tokens, so that a megabyte without an end costs no more than its windows.
MOST_CHARACTERS_PER_TOKEN = 16
# Of these an encoder and a decoder are in the directory, and only the encoder is loaded.
_WITH_DECODER = frozenset({"t5", "mt5", "umt5"})


# Tokens that a model sees at once where the config does not say: larger batches are no faster on a processor.
BATCH_TOKENS = {"cpu": 256, "cuda": 16_384}

Tokens = npt.NDArray[np.int64]


class _Sentences(nn.Module):
    """A model of texts with what makes one vector of its token vectors: ids and mask `[B, L]` → `[B, D]`."""

    def __init__(self, model: nn.Module, head: SentenceHead) -> None:
        super().__init__()
        self.model: Any = model
        self.head = head

    def forward(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        hidden_BLD = self.model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        vectors_BD: torch.Tensor = self.head(hidden_BLD, mask_BL)
        return vectors_BD


@dataclass(frozen=True)
class _Sizes:
    """Sizes of a network.

    Attributes:
        dim: Of its vectors.
        num_known: Token ids that it has a row for.
        num_positions: Tokens that it takes at once; None where positions are relative.
    """

    dim: int
    num_known: int
    num_positions: int | None


class TextEncoder:
    """Encodes texts; see the `Encoder` protocol.

    Texts of about the same length are computed together, so little is wasted on padding. The padded length follows from
    the text alone (see `padded_length`), and so does the shape of the batch it is computed in
    (`batch_tokens` divided by that length; missing rows are filled up): the same kernels see it whatever its
    neighbours are, and its vector has the same bits.
    """

    def __init__(self, spec: EncoderSpec, config: TextConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._models = spec, config, directory, models
        self._layout = sentence_layout(config, directory)
        self._run: InferenceFn | None = None
        self._device = "cpu"
        self._tokenizer: Any = None
        self._special_ids: frozenset[int] = frozenset()
        self._num_prompt_tokens = 0
        self._pad_id = 0
        self._dim = spec.dim or 0
        self._batch_tokens = config.batch_tokens or BATCH_TOKENS["cpu"]
        self._max_tokens = config.max_tokens

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads tokenizer and weights; no weights where this machine has converted the network before.

        Raises:
            EncoderError: When the directory holds no model that transformers can load.
        """
        try:
            self._tokenizer = load_tokenizer(self._directory)
        except (OSError, ValueError, KeyError) as error:
            raise self._not_loaded(error) from None
        # Windows are cut from the left and padded on the right here, whatever the directory is set to for generation.
        self._tokenizer.truncation_side = "right"
        prompt_ids = self._tokenizer(self._layout.prompt, add_special_tokens=False)["input_ids"]
        self._special_ids = frozenset(self._tokenizer.all_special_ids)
        self._num_prompt_tokens = sum(token not in self._special_ids for token in prompt_ids)
        self._device = device
        self._batch_tokens = self._config.batch_tokens or BATCH_TOKENS[device.partition(":")[0]]
        module = functools.cache(self._build)
        sizes = cached(_Sizes, [self._spec.revision, transformers.__version__], lambda: self._sizes(module()))
        self._fit(sizes)
        self._run = choose_run(
            make_network(
                module,
                self._examples(),
                key=self._spec.revision,
                device=device,
                threads=self._models.threads,
                backend=self._models.backend,
            ),
            self._config.dtype,
            device,
            key=self._spec.revision,
            sample=calibration_texts,
            encode=lambda run, texts: self._encode(run, texts).vectors,
        )

    def _build(self) -> _Sentences:
        with_decoder = read_model_config(self._directory).get("model_type") in _WITH_DECODER
        factory = AutoModelForTextEncoding if with_decoder else AutoModel
        try:
            # The part that makes one vector of a BERT's first token is not used here.
            model = load_model(factory, self._directory, torch.float32, unused=("pooler.",))
        except (OSError, ValueError, KeyError) as error:
            raise self._not_loaded(error) from None
        model.config.use_cache = False
        return _Sentences(model, SentenceHead(self._layout)).eval()

    def _not_loaded(self, error: Exception) -> EncoderError:
        return EncoderError(
            f"Text encoder `{self._spec.id}`: `{self._directory}` must hold a BERT-like, decoder-only or T5-like "
            f"model with its tokenizer, got: {error}."
        )

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of texts: `[n, dim] float32`; an empty text is a row with an error.

        A text longer than the model's window is read in windows, and its vector is the mean over all their tokens. A
        text of which the model knows nothing (all its tokens are unknown or dropped, as a text of emoji may be to an
        English model) is a row with an error too: all such texts would get the same vector.
        """
        if self._run is None:
            raise EncoderError(f"Text encoder `{self._spec.id}`: call load() before encode().")
        return self._encode(self._run, batch)

    def _encode(self, run: InferenceFn, batch: Sequence[EncoderInput]) -> EncodeResult:
        errors: list[str | None] = [refusal(text) for text in batch]
        rows = [row for row, error in enumerate(errors) if error is None]
        for row in rows:
            errors[row] = TEXT_UNKNOWN
        vectors = np.zeros((len(batch), self._dim), np.float32)
        for owners, weights_B1, pooled_BD in self._encoded(run, [str(batch[row]) for row in rows]):
            np.add.at(vectors, [rows[owner] for owner in owners], weights_B1 * pooled_BD)
            for owner in owners:
                errors[rows[owner]] = None
        if self._layout.normalise:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            vectors[row], errors[row] = 0.0, NOT_FINITE
        return EncodeResult(vectors, errors)

    def _encoded(
        self, run: InferenceFn, texts: list[str]
    ) -> Iterator[tuple[list[int], npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Groups of windows: index into `texts`, share of the text's tokens `[B, 1]`, vector `[B, D]`."""
        if not texts:
            return
        owners, windows = self._windows(texts)
        if not owners:
            return
        lengths = np.array([len(ids) for ids in windows], np.float32)
        shares: npt.NDArray[np.float32] = (lengths / np.bincount(owners, lengths)[owners]).astype(np.float32)
        by_length: dict[int, list[int]] = {}
        for index, ids in enumerate(windows):
            by_length.setdefault(padded_length(len(ids), self._max_tokens), []).append(index)
        groups = (
            (padded, num_rows, indices[start : start + num_rows])
            for padded, indices in sorted(by_length.items())
            for num_rows in [max(1, self._batch_tokens // padded)]
            for start in range(0, len(indices), num_rows)
        )

        def computed(group: tuple[int, int, list[int]]) -> tuple[list[int], npt.NDArray[np.float32]]:
            padded, num_rows, indices = group
            ids_BL, mask_BL = self._batch([windows[index] for index in indices], num_rows, padded)
            return indices, run(ids_BL, mask_BL)[: len(indices)]

        for indices, pooled_BD in map_batches(computed, groups, self._device):
            yield [owners[index] for index in indices], shares[indices].reshape(-1, 1), pooled_BD

    def _windows(self, texts: list[str]) -> tuple[list[int], list[list[int]]]:
        """Token ids of each window, with the index of its text; special tokens are in every window.

        The prompt is in the first. Texts of which no token is known have no window.
        """
        most_characters = self._config.max_windows * self._max_tokens * MOST_CHARACTERS_PER_TOKEN
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

    def _knows_any(self, ids: list[int]) -> bool:
        """Tell if a first window has a token of the text that is neither special nor unknown."""
        known = (token for token in ids if token not in self._special_ids)
        return next(islice(known, self._num_prompt_tokens, None), None) is not None

    def _sizes(self, module: _Sentences) -> _Sizes:
        """Asks a model for its sizes, and for the vectors of two batches of other shapes."""
        needed = f"a model that turns token ids into vectors of {self._spec.dim or 'any'} numbers is needed"
        try:
            num_known = module.model.get_input_embeddings().num_embeddings
            sizes = _Sizes(self._spec.dim or 0, num_known, num_positions(module.model))
            self._fit(sizes)
            with torch.inference_mode():
                dims = [module(*map(torch.from_numpy, example)).shape[1] for example in self._examples()]
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise EncoderError(f"Text encoder `{self._spec.id}`: {needed}, got: {error}.") from None
        if self._spec.dim not in (None, dims[0]):
            raise EncoderError(f"Text encoder `{self._spec.id}`: {needed}, got {dims[0]}.")
        return replace(sizes, dim=dims[0])

    def _fit(self, sizes: _Sizes) -> None:
        pad_id = self._tokenizer.pad_token_id
        # Nothing attends to padding, so any id will do where there is none, or none that the network has a row for.
        self._pad_id = pad_id if pad_id is not None and pad_id < sizes.num_known else 0
        limits = (self._config.max_tokens, self._layout.max_tokens, sizes.num_positions)
        self._max_tokens = min(limit for limit in limits if limit)
        self._dim = sizes.dim

    def _examples(self) -> tuple[tuple[Tokens, Tokens], ...]:
        """Batches of two shapes."""
        ids = self._tokenizer("a text that stands for others")["input_ids"][: self._max_tokens] or [self._pad_id]
        padded = padded_length(len(ids), self._max_tokens)
        return self._batch([ids, ids[:2]], 3, padded), self._batch([ids[: padded - 1]], 1, padded - 1)

    def _batch(self, tokens: list[list[int]], num_rows: int, padded: int) -> tuple[Tokens, Tokens]:
        """Token ids and which of them are there, `[B, L] int64` each."""
        ids_BL = np.full((num_rows, padded), self._pad_id, np.int64)
        mask_BL = np.zeros((num_rows, padded), np.int64)
        mask_BL[:, 0] = 1  # Rows that only fill the batch up attend to one token, so that nothing divides by zero.
        for row, ids in enumerate(tokens):
            ids_BL[row, : len(ids)] = ids
            mask_BL[row, : len(ids)] = 1
        return ids_BL, mask_BL


def padded_length(num_tokens: int, max_tokens: int) -> int:
    """Length that a text is padded to: few different ones, and a tenth of padding on average.

    Never more than `max_tokens`, which need not be a multiple of a step.
    """
    step = 8 if num_tokens <= 64 else 16 if num_tokens <= 128 else 32
    return min(-(-num_tokens // step) * step, max_tokens)


def num_positions(model: Any) -> int | None:
    """Longest input of a network; None where positions are relative.

    Families after RoBERTa count positions from behind the one of padding: 514 of them hold 512 tokens.
    """
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings) - int(module.padding_idx) - 1
    return positions
