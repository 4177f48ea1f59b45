"""Texts → sentiments, with any sequence-classification directory in transformers format.

Shape legend: B windows, L tokens, C classes, N texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSequenceClassification

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.encoders.text.config import SentimentConfig
from mmrec_lib.encoders.text.transformer import BATCH_TOKENS, MOST_CHARACTERS_PER_TOKEN, num_positions, padded_length
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.errors import EncoderError
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.ratings import SENTIMENTS, Judgement, sentiment_of
from mmrec_lib.text.well_formed import well_formed

Floats = npt.NDArray[np.float64]

_NAMES = {"neg": "negative", "neu": "neutral", "pos": "positive"}
_STARS = re.compile(r"([1-5])(?:\.0)?(?:[ _-]?stars?)?|stars?[ _-]?([1-5])")


def read_labels(names: Mapping[int, str], given: Mapping[str, str]) -> list[str | float]:
    """Meaning of each class of a model: a sentiment or a number of stars.

    Args:
        names: The model's name of each class.
        given: What they mean where their names do not tell.

    Raises:
        ValueError: When a name tells nothing, or sentiments and stars are mixed.
    """
    meanings = [_meaning(given.get(name, name)) for _, name in sorted(names.items())]
    unknown = [name for (_, name), meaning in zip(sorted(names.items()), meanings, strict=True) if meaning is None]
    if unknown:
        raise ValueError(f"classes {unknown}, which say nothing of sentiment; tell what they mean with `labels`")
    found = [meaning for meaning in meanings if meaning is not None]
    if len({type(meaning) for meaning in found}) != 1 or len(set(found)) != len(found) or len(found) < 2:
        raise ValueError(f"classes that mean {found}; sentiments or stars are needed, each once")
    return found


class SentimentClassifier:
    """Judges texts; the result of one does not depend on the others.

    Windows are computed in batches whose shape follows from the window alone, as `TextEncoder` does; the probabilities
    of a long text are the mean over its windows, weighted by their tokens. Batches are filled up with a window that is
    there: models that read the vector of a text's end need one in every row.
    """

    def __init__(self, spec: EncoderSpec, config: SentimentConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        self._model: Any = None
        self._tokenizer: Any = None
        self._device = "cpu"
        self._max_tokens = config.max_tokens
        self._pad_id = 0
        self._meanings: list[str | float] = []

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads tokenizer and weights.

        Raises:
            EncoderError: When the directory holds no classifier, or its classes are not those of a sentiment.
        """
        torch.set_num_threads(self._threads)
        try:
            self._tokenizer = load_tokenizer(self._directory)
            model = load_model(AutoModelForSequenceClassification, self._directory, torch.float32)
            self._meanings = read_labels(model.config.id2label, self._config.labels)
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(
                f"Sentiment model `{self._spec.id}`: `{self._directory}` must hold a sequence classifier of sentiments "
                f"or stars with its tokenizer, got: {error}."
            ) from None
        self._model, self._device = model.to(device), device
        self._max_tokens = min(self._config.max_tokens, num_positions(model) or self._config.max_tokens)
        # Windows are cut from the left, whatever the directory is set to for generation.
        self._tokenizer.truncation_side = "right"
        # Decoders read the last token that is no padding, and find it by the id that their config names.
        known = (model.config.pad_token_id, self._tokenizer.pad_token_id, self._tokenizer.eos_token_id, 0)
        self._pad_id = model.config.pad_token_id = next(one for one in known if one is not None)
        try:
            ids = (self._tokenizer("a text")["input_ids"] or [self._pad_id])[: self._max_tokens]
            self._forward([ids], 2, padded_length(len(ids), self._max_tokens))
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise EncoderError(
                f"Sentiment model `{self._spec.id}`: a classifier that takes texts of {self._max_tokens} tokens is "
                f"needed, got: {error}."
            ) from None

    def judge(self, texts: Sequence[str], config: OpinionConfig) -> Judgement:
        """Sentiments of texts, and ratings where the classes are stars."""
        if self._model is None:
            raise EncoderError(f"Sentiment model `{self._spec.id}`: call load() before judge().")
        chances_NC, is_known = self._chances(texts)
        stars = [meaning for meaning in self._meanings if not isinstance(meaning, str)]
        if stars:
            star_C = np.array(stars, np.float64)
            of_class = sentiment_of(star_C, config)
            ratings = (chances_NC * star_C).sum(axis=1)
            stds = np.sqrt(np.maximum((chances_NC * star_C**2).sum(axis=1) - ratings**2, 0.0))
        else:
            of_class = np.array([SENTIMENTS.index(str(meaning)) for meaning in self._meanings])
            ratings = stds = np.full(len(texts), np.nan)
        probabilities = np.stack([chances_NC[:, of_class == index].sum(axis=1) for index in range(3)], axis=1)
        return Judgement(probabilities, ratings, stds, is_known)

    def _chances(self, texts: Sequence[str]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Probabilities of the classes, `[N, C]`, and whether any token was read, `[N]`."""
        chances_NC = np.zeros((len(texts), len(self._meanings)))
        num_tokens = np.zeros(len(texts))
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for owner, text in enumerate(texts):
            for ids in self._windows(text):
                by_length.setdefault(padded_length(len(ids), self._max_tokens), []).append((owner, ids))
        for padded, windows in sorted(by_length.items()):
            num_rows = max(1, (self._config.batch_tokens or BATCH_TOKENS["cpu"]) // padded)
            for start in range(0, len(windows), num_rows):
                group = windows[start : start + num_rows]
                found_BC = self._forward([ids for _, ids in group], num_rows, padded)
                for (owner, ids), found_C in zip(group, found_BC, strict=True):
                    chances_NC[owner] += len(ids) * found_C
                    num_tokens[owner] += len(ids)
        is_known = num_tokens > 0
        chances_NC[is_known] /= num_tokens[is_known, None]
        return chances_NC, is_known

    def _windows(self, text: str) -> list[list[int]]:
        """Token ids of each window; none where the tokenizer knows no token of the text."""
        most = self._config.max_windows * self._max_tokens * MOST_CHARACTERS_PER_TOKEN
        encoded = self._tokenizer(
            well_formed(text[:most]), truncation=True, max_length=self._max_tokens, return_overflowing_tokens=True
        )
        windows: list[list[int]] = encoded["input_ids"][: self._config.max_windows]
        special = set(self._tokenizer.all_special_ids)
        return windows if any(token not in special for ids in windows for token in ids) else []

    def _forward(self, tokens: list[list[int]], num_rows: int, padded: int) -> Floats:
        ids_BL = torch.full((num_rows, padded), self._pad_id, dtype=torch.long)
        mask_BL = torch.zeros((num_rows, padded), dtype=torch.long)
        for row, ids in enumerate(tokens + tokens[:1] * (num_rows - len(tokens))):
            ids_BL[row, : len(ids)] = torch.tensor(ids)
            mask_BL[row, : len(ids)] = 1
        with torch.inference_mode():
            logits_BC = self._model(input_ids=ids_BL.to(self._device), attention_mask=mask_BL.to(self._device)).logits
            chances_BC = logits_BC.double().softmax(dim=1)
        result: Floats = chances_BC[: len(tokens)].cpu().numpy()
        return result


def _meaning(name: str) -> str | float | None:
    word = str(name).strip().lower()
    if word in SENTIMENTS:
        return word
    if word in _NAMES:
        return _NAMES[word]
    stars = _STARS.fullmatch(word)
    return float(stars[1] or stars[2]) if stars else None
