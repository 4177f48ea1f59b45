"""Texts → vectors by the words in them: the baselines that are fitted on the store's own texts.

A model is a vector and a weight for every word that it knows. The vector of a text is the mean of its words' vectors, a
word that is there f times counting (1 + ln f) times its weight. With the leading singular vectors of a TF-IDF matrix
this is latent semantic analysis (Deerwester, Dumais, Furnas, Landauer and Harshman, "Indexing by Latent Semantic
Analysis", 1990), with word2vec's vectors the weighted mean that is its usual baseline. No network, no torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import TEXT_UNKNOWN
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.encoders.text.config import WordModelConfig
from mmrec_lib.encoders.text.refusal import refusal
from mmrec_lib.encoders.weights.directory import read_model_config
from mmrec_lib.errors import EncoderError
from mmrec_lib.text.tokenizer import SEGMENTATION, tokenize
from mmrec_lib.text.well_formed import well_formed

MODEL_TYPE = "mmrec-words"
_VOCABULARY, _WEIGHTS = "vocabulary.json", "model.safetensors"


class WordModelEncoder:
    """Encodes texts; see the `Encoder` protocol. Its directory is made by `save_words`."""

    def __init__(self, spec: EncoderSpec, config: WordModelConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._directory = spec, directory
        self._normalise = config.normalise
        self._method = config.kind
        self._index: Mapping[str, int] = {}
        self._vectors: npt.NDArray[np.float32] = np.zeros((0, spec.dim or 0), np.float32)
        self._weights: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._most_characters = 0

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads vocabulary and vectors; there is nothing that a device other than the processor would do faster.

        Raises:
            EncoderError: When the directory holds no such model, one whose words were cut in another way, or one fitted
                by another method than its kind says.
        """
        settings = read_model_config(self._directory)
        if settings.get("model_type") != MODEL_TYPE or settings.get("segmentation") != SEGMENTATION:
            raise EncoderError(
                f"Words model `{self._spec.id}`: `{self._directory}` must be of type {MODEL_TYPE} with segmentation "
                f"{SEGMENTATION}, got {settings.get('model_type')} with {settings.get('segmentation')}. Fit it again "
                "with jobs/fit_word_model.py."
            )
        if settings.get("method") != self._method:
            raise EncoderError(
                f"Word model `{self._spec.id}`: `{self._directory}` was fitted by {settings.get('method')}, got kind "
                f"{self._method}. Write the method of the fit as its kind."
            )
        try:
            vocabulary = json.loads((self._directory / _VOCABULARY).read_text(encoding="utf-8"))
            tensors = load_file(self._directory / _WEIGHTS)
            self._vectors, self._weights = tensors["vectors"], tensors["weights"]
            self._most_characters = int(settings["max_characters"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise EncoderError(
                f"Words model `{self._spec.id}`: `{self._directory}` must hold {_VOCABULARY} and {_WEIGHTS}, "
                f"got: {error}."
            ) from None
        self._index = {word: index for index, word in enumerate(vocabulary)}
        if self._vectors.shape != (len(self._index), self._spec.dim) or self._weights.shape != (len(self._index),):
            raise EncoderError(
                f"Words model `{self._spec.id}`: a weight and {self._spec.dim} numbers for each of {len(self._index)} "
                f"words are needed, got {self._weights.shape} and {self._vectors.shape}."
            )

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of texts: `[n, dim] float32`; a text without a known word is a row with an error."""
        if not self._index:
            raise EncoderError(f"Words model `{self._spec.id}`: call load() before encode().")
        errors = [refusal(text) for text in batch]
        words = [
            tokenize(well_formed(str(text)[: self._most_characters])) if error is None else []
            for text, error in zip(batch, errors, strict=True)
        ]
        counts = word_counts(words, self._index, self._weights)
        # A product of sparse rows adds up each row by itself, so a vector has the same bits in any batch.
        vectors: npt.NDArray[np.float32] = np.asarray(counts @ self._vectors, dtype=np.float32)
        scale = np.linalg.norm(vectors, axis=1) if self._normalise else np.asarray(counts.sum(axis=1)).reshape(-1)
        vectors /= np.where(scale > 0, scale, 1).astype(np.float32).reshape(-1, 1)
        for row in np.flatnonzero(~vectors.any(axis=1)).tolist():
            errors[row] = errors[row] or TEXT_UNKNOWN
        return EncodeResult(vectors, errors)


def word_counts(
    texts: Iterable[Sequence[str]], index: Mapping[str, int], weights: npt.NDArray[np.float32]
) -> sparse.csr_matrix:
    """Weighted words of texts: `[n, num_words] float32`, (1 + ln f) times the weight where a word is there f times.

    Args:
        texts: Words of each text.
        index: Row of each known word; others do not count.
        weights: `[num_words]`, how much a word tells.
    """
    columns: list[int] = []
    times: list[int] = []
    ends = [0]
    for words in texts:
        found = sorted(Counter(index[word] for word in words if word in index).items())
        columns += [column for column, _ in found]
        times += [count for _, count in found]
        ends.append(len(columns))
    values = (1 + np.log(np.array(times, np.float64))) * weights[columns] if columns else np.zeros(0)
    matrix = (values.astype(np.float32), np.array(columns, np.int64), np.array(ends, np.int64))
    return sparse.csr_matrix(matrix, shape=(len(ends) - 1, len(index)))


def save_word_model(
    directory: Path,
    vocabulary: Sequence[str],
    vectors: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    settings: Mapping[str, Any],
) -> None:
    """Writes a words model; the directory appears, or changes, only when it is complete.

    Args:
        directory: Where; made or replaced.
        vocabulary: The words.
        vectors: `[num_words, dim] float32`.
        weights: `[num_words] float32`.
        settings: What it was fitted with, `max_characters` among it; kept for people and for its identity.

    Raises:
        EncoderError: When the directory holds something else.
    """
    if directory.exists() and not _may_be_replaced(directory):
        raise EncoderError(
            f"Model directory `{directory}`: it holds something that is no fitted words model, which would be lost. "
            "Choose another name or models.root, or move it away."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".making-{directory.name}-", dir=directory.parent))
    try:
        made = work / "model"
        made.mkdir()
        config = {"model_type": MODEL_TYPE, "segmentation": SEGMENTATION, "hidden_size": vectors.shape[1], **settings}
        (made / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (made / _VOCABULARY).write_text(json.dumps(list(vocabulary), ensure_ascii=False, indent=0), encoding="utf-8")
        save_file({"vectors": np.ascontiguousarray(vectors), "weights": weights}, made / _WEIGHTS)
        (made / _WEIGHTS).chmod(0o644)
        if directory.exists():
            directory.replace(work / "replaced")
        made.replace(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _may_be_replaced(directory: Path) -> bool:
    """Tell if a directory is empty or a words model."""
    if not directory.is_dir() or directory.is_symlink():
        return False
    if not any(directory.iterdir()):
        return True
    try:
        return read_model_config(directory).get("model_type") == MODEL_TYPE
    except EncoderError:
        return False
