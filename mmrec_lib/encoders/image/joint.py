"""Texts and images → vectors of one space, so that a text finds images and an image texts.

With two towers that were trained together (CLIP: Radford et al., Learning Transferable Visual Models From Natural
Language Supervision, 2021; SigLIP: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023), or without any
such training by ConSE; see `ConseEncoder`.

Shape legend: B rows, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE, TEXT_UNKNOWN, medium_missing
from mmrec_lib.encoders.image.config import JointConfig
from mmrec_lib.encoders.image.encoder import ImageEncoder
from mmrec_lib.encoders.image.labels import ImageClassifier
from mmrec_lib.encoders.image.networks import Towers, load_towers
from mmrec_lib.encoders.runtime.precision import compute_dtype
from mmrec_lib.encoders.spec import Encoder, EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.refusal import refusal
from mmrec_lib.encoders.text.transformer import BATCH_TOKENS, MOST_CHARACTERS_PER_TOKEN, TextEncoder
from mmrec_lib.encoders.weights.directory import local_directory
from mmrec_lib.encoders.weights.loading import load_tokenizer
from mmrec_lib.errors import EncoderError
from mmrec_lib.text.well_formed import well_formed

# Labels that an image's vector is made of, as in the paper.
CONSE_LABELS = 10


def make_joint(spec: EncoderSpec, config: JointConfig, directory: Path, models: ModelsConfig) -> Encoder:
    """The encoder of a joint space: ConSE where the config names a text model, else the towers of a directory."""
    if config.text_directory is not None:
        return ConseEncoder(spec, config, directory, models)
    return TowersEncoder(spec, config, directory, models)


class TowersEncoder:
    """Encodes texts (`str`) and images (`bytes`) with a CLIP or SigLIP directory; see the `Encoder` protocol.

    Vectors have length 1. A text is cut at the longest that the model was trained on and padded to it, and batches are
    filled up, so that the same kernels see it whatever its neighbours are. One of which no token is known is a row with
    an error, as with `TextEncoder`.
    """

    def __init__(self, spec: EncoderSpec, config: JointConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._models = spec, config, directory, models
        self._towers: Towers | None = None
        self._images: ImageEncoder | None = None
        self._tokenizer: Any = None
        self._device = "cpu"
        self._dim = 0

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads tokenizer and weights.

        Raises:
            EncoderError: When the directory holds neither a CLIP nor a SigLIP, or no tokenizer, or two spaces.
        """
        try:
            self._tokenizer = load_tokenizer(self._directory)
            towers = load_towers(self._directory, torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(
                f"Joint encoder `{self._spec.id}`: `{self._directory}` must hold a CLIP or SigLIP with its tokenizer "
                f"(or the config name a text_directory for ConSE), got: {error}."
            ) from None
        towers.texts.to(device, compute_dtype(self._config.dtype, "image", device))
        self._towers, self._device = towers, device
        dim = self._text_vectors(["a text"], towers)[0].shape[1]
        if self._spec.dim not in (None, dim):
            raise EncoderError(
                f"Joint encoder `{self._spec.id}`: text vectors of {self._spec.dim} numbers are needed, got {dim}."
            )
        self._dim = dim
        self._images = ImageEncoder(
            replace(self._spec, dim=dim),
            self._config,
            self._directory,
            self._models,
            load_network=lambda directory, dtype: towers.images.to(dtype=dtype),
        )
        self._images.load(device)

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of texts and images: `[n, dim] float32` of length 1; what cannot be read is a row with an error."""
        if self._images is None:
            raise EncoderError(f"Joint encoder `{self._spec.id}`: call load() before encode().")
        return _encode_both(batch, self._encode_texts, self._images.encode, self._dim)

    def _encode_texts(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        assert self._towers is not None
        most_characters = self._towers.max_tokens * MOST_CHARACTERS_PER_TOKEN
        texts = [well_formed(str(text)[:most_characters]) for text in batch]
        vectors, is_known = self._text_vectors(texts, self._towers)
        errors: list[str | None] = [
            refusal(text) or (None if known else TEXT_UNKNOWN) for text, known in zip(batch, is_known, strict=True)
        ]
        for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            errors[row] = errors[row] or NOT_FINITE
        return EncodeResult(vectors, errors)

    def _text_vectors(self, texts: list[str], towers: Towers) -> tuple[npt.NDArray[np.float32], list[bool]]:
        """Vectors of texts, and whether a token of each is known."""
        special, is_known = set(self._tokenizer.all_special_ids), list[bool]()
        num_rows = max(1, (self._config.batch_tokens or BATCH_TOKENS["cpu"]) // towers.max_tokens)
        parts: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(texts), num_rows):
            group = texts[start : start + num_rows]
            tokens = self._tokenizer(
                group + [""] * (num_rows - len(group)),
                padding="max_length",
                truncation=True,
                max_length=towers.max_tokens,
                return_tensors="pt",
            )
            with torch.inference_mode():
                found_BD = towers.texts(**{name: tokens[name].to(self._device) for name in towers.text_inputs})
            parts.append(found_BD[: len(group)].float().cpu().numpy())
            is_known += [not special.issuperset(ids) for ids in tokens["input_ids"][: len(group)].tolist()]
        return np.concatenate(parts), is_known


class ConseEncoder:
    """Encodes texts (`str`) and images (`bytes`) into the space of a text model, without training.

    ConSE (Norouzi et al., Zero-Shot Learning by Convex Combination of Semantic Embeddings, 2013): the vector of a
    image is the mean of the vectors of the names of its ten most probable labels, weighted with their probabilities.
    It knows what the classifier has names for: a thousand kinds of things for ImageNet, no colours, styles or deeds.
    It is no CLIP. Vectors have length 1.
    """

    def __init__(self, spec: EncoderSpec, config: JointConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec = spec
        self._classifier = ImageClassifier(spec, config, directory, models)
        text_directory = local_directory(models.root, str(config.text_directory))
        text_config = TextConfig(
            id=config.id,
            dtype=config.dtype,
            batch_tokens=config.batch_tokens,
            max_tokens=config.max_tokens,
            max_windows=config.max_windows,
            pooling=config.pooling,
            normalise=True,
        )
        self._texts = TextEncoder(replace(spec, input_kind="text"), text_config, text_directory, models)
        self._names_LD: npt.NDArray[np.float32] | None = None

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads both models and encodes the names of the labels.

        Raises:
            EncoderError: When one of the directories is not what the config says.
        """
        self._classifier.load(device)
        self._texts.load(device)
        self._names_LD = self._texts.encode(self._classifier.names).vectors

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of texts and images: `[n, dim] float32` of length 1; what cannot be read is a row with an error."""
        if self._names_LD is None:
            raise EncoderError(f"Joint encoder `{self._spec.id}`: call load() before encode().")
        return _encode_both(batch, self._texts.encode, self._encode_images, self._names_LD.shape[1])

    def _encode_images(self, images: Sequence[EncoderInput]) -> EncodeResult:
        assert self._names_LD is not None
        found = self._classifier.classify(images)
        vectors = np.zeros((len(images), self._names_LD.shape[1]), np.float32)
        # Row by row: the bits of a product may depend on how many rows are multiplied at once.
        for row, probabilities in enumerate(found.of_labels):
            best = np.argsort(-probabilities, kind="stable")[:CONSE_LABELS]
            vectors[row] = probabilities[best] @ self._names_LD[best]
        return EncodeResult(vectors, found.errors)


def _encode_both(
    batch: Sequence[EncoderInput],
    encode_texts: Callable[[Sequence[EncoderInput]], EncodeResult],
    encode_images: Callable[[Sequence[EncoderInput]], EncodeResult],
    dim: int,
) -> EncodeResult:
    """Vectors of length 1 of a batch that may hold both, zeros where there is an error."""
    errors: list[str | None] = [medium_missing("text or image")] * len(batch)
    vectors = np.zeros((len(batch), dim), np.float32)
    for kind, encode in ((str, encode_texts), (bytes, encode_images)):
        rows = [row for row, content in enumerate(batch) if isinstance(content, kind)]
        if not rows:
            continue
        found = encode([batch[row] for row in rows])
        for row, vector, error in zip(rows, found.vectors, found.errors, strict=True):
            errors[row] = error
            if error is None:
                vectors[row] = vector / np.maximum(np.linalg.norm(vector), np.float32(1e-12))
    return EncodeResult(vectors, errors)
