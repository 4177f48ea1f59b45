"""Contrastive fine-tuning of a text encoder on behaviour: texts that people turn to together come close.

In each batch the neighbours of a text in the graph of behaviour are its positives, by their weight, and all other texts
its negatives: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018), with
several positives as in Khosla et al., "Supervised Contrastive Learning" (2020).

Shape legend: B texts, L tokens, D dimensions.
"""

from __future__ import annotations

import functools
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_array
from torch import Tensor, nn
from transformers import AutoModel

from mmrec_lib.encoders.text.sentence_head import pooled
from mmrec_lib.encoders.text.sentence_layout import SentenceLayout
from mmrec_lib.encoders.weights.directory import DESCRIPTION_FILE, require_safe
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.errors import EncoderError, RecipeError
from mmrec_lib.files import write_text_atomic
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.frozen_layers import FrozenLayers, encoder_layers
from mmrec_lib.recipes.lora import add_adapters, merge_adapters
from mmrec_lib.text.well_formed import well_formed

Floats = npt.NDArray[np.float32]
_CHARACTERS_PER_TOKEN = 16
_ENCODED_TOGETHER = 32
MARKER = "adaptation.json"
"""File by which a directory is known as an adapted encoder."""
_TOKENIZER_TEXTS = ("vocab.txt", "merges.txt")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adaptation:
    """Course of an adaptation, one value an epoch.

    Attributes:
        losses: Mean loss over the batches.
        scores: Validation score; the first is that of the encoder as it was.
        best_epoch: The chosen epoch, from 1; 0 where none was better than the encoder as it was.
    """

    losses: list[float]
    scores: list[float]
    best_epoch: int


class TextAdapter:
    """A text encoder that is trained; its vectors have length 1."""

    def __init__(self, directory: Path, config: AdaptationConfig, layout: SentenceLayout, device: str = "cpu") -> None:
        """Load the encoder and put adapters on it.

        Args:
            directory: The encoder as it is.
            config: How it is trained.
            layout: How its token vectors become one, and its prompt.
            device: What is computed on.

        Raises:
            RecipeError: When the directory is unsafe or holds no text model, or has nothing to adapt.
        """
        self._directory, self._config, self._layout, self._device = directory, config, layout, device
        if layout.dense:
            raise RecipeError(
                f"Encoder `{config.encoder}` cannot be adapted: one without layers behind its pooling is needed, got "
                f"{len(layout.dense)} of them."
            )
        torch.manual_seed(config.seed)
        try:
            require_safe(directory)
            self.model = load_model(AutoModel, directory, torch.float32, unused=("pooler.",))
            self._tokenizer = load_tokenizer(directory)
        except (EncoderError, OSError, ValueError, KeyError) as error:
            raise RecipeError(f"Encoder `{config.encoder}` cannot be adapted: {error}") from None
        self._frozen: FrozenLayers | None = None
        self._is_kept = False
        if config.rank is None:
            self.model.requires_grad_(True)
        else:
            layers = encoder_layers(self.model)
            num_frozen = 0 if config.trained_layers is None else max(len(layers) - config.trained_layers, 0)
            add_adapters(self.model, layers, num_frozen, config.rank, config.scale)
            self._frozen = FrozenLayers(layers, num_frozen)
        self.model.to(device)
        self._pad_id = int(self._tokenizer.pad_token_id or 0)
        self._tokens: list[list[int]] = []

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return int(self.model.config.hidden_size)

    @property
    def trained(self) -> list[nn.Parameter]:
        """Weights that change."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, cut at `max_tokens`."""
        most = self._config.max_tokens
        cut = [self._layout.prompt + well_formed(text[: most * _CHARACTERS_PER_TOKEN]) for text in texts]
        ids: list[list[int]] = self._tokenizer(cut, truncation=True, max_length=most)["input_ids"]
        return [one or [self._pad_id] for one in ids]

    def read(self, texts: Sequence[str]) -> None:
        """Take the texts that later calls name by their number; what their frozen layers give is kept, if it fits."""
        self._tokens = self.tokens(texts)
        num_tokens = sum(map(len, self._tokens))
        if self._frozen is None or not self._frozen.fits(num_tokens, self.dim):
            return
        self.model.eval()
        for numbers in self._by_length(range(len(self._tokens))):
            lengths = [len(self._tokens[number]) for number in numbers]
            self._frozen.capture(functools.partial(self._forward, *self._padded(numbers)), numbers, lengths)
        self._is_kept = True

    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of texts `[B, D]`, of length 1."""
        ids_BL, mask_BL = self._padded(numbers)
        with self._frozen.entered(numbers, ids_BL.shape[1]) if self._is_kept and self._frozen else nullcontext():
            hidden_BLD = self._forward(ids_BL, mask_BL)
        return nn.functional.normalize(pooled(hidden_BLD, mask_BL, self._layout.pooling), dim=1)

    def encode(self, numbers: Sequence[int]) -> Floats:
        """Vectors of texts without training: `[num_texts, D]`."""
        self.model.eval()
        place = {number: row for row, number in enumerate(numbers)}
        found = np.zeros((len(numbers), self.dim), np.float32)
        with torch.inference_mode():
            for chosen in self._by_length(numbers):
                found[[place[number] for number in chosen]] = self.vectors(chosen).cpu().numpy()
        return found

    def _forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        hidden_BLD: Tensor = self.model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        return hidden_BLD

    def _padded(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        tokens = [self._tokens[number] for number in numbers]
        ids_BL = torch.full((len(tokens), max(map(len, tokens))), self._pad_id)
        mask_BL = torch.zeros_like(ids_BL)
        for row, ids in enumerate(tokens):
            ids_BL[row, : len(ids)] = torch.tensor(ids)
            mask_BL[row, : len(ids)] = 1
        return ids_BL.to(self._device), mask_BL.to(self._device)

    def _by_length(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Batches of texts of about the same length."""
        order = sorted(numbers, key=lambda number: len(self._tokens[number]))
        return (order[start : start + _ENCODED_TOGETHER] for start in range(0, len(order), _ENCODED_TOGETHER))

    def fit(self, weights: csr_array, validate: Callable[[], float]) -> Adaptation:
        """Train until validation gets no better, and end with the weights of the best epoch.

        Args:
            weights: The graph of the texts that were read: how much two of them belong together.
            validate: Score of the encoder as it is now, higher is better.
        """
        config = self._config
        nodes = np.flatnonzero(np.diff(weights.indptr) > 0)
        if len(nodes) < config.batch_size:
            raise RecipeError(
                f"Adaptation of `{config.encoder}`: at least {config.batch_size} texts with a neighbour are needed "
                f"(adaptation.batch_size), got {len(nodes)}: too few people turned to the same items."
            )
        optimizer = torch.optim.AdamW(self.trained, lr=config.learning_rate, weight_decay=0.0)
        steps = max(2 * len(nodes) // config.batch_size, 1)
        losses, scores, best, kept = list[float](), [validate()], 0, self._state()
        for epoch in range(1, config.max_epochs + 1):
            rng = np.random.default_rng([config.seed, epoch])
            torch.manual_seed(config.seed * 1_000_003 + epoch)
            # Dropout stays off: few texts see few steps, and positives differ from text to text already.
            total, order = 0.0, rng.permutation(nodes)
            for step in range(steps):
                progress = ((epoch - 1) * steps + step) / (config.max_epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * max(min(progress / 0.1, (1 - progress) / 0.9), 0.02)
                batch = _batch(order[step * (config.batch_size // 2) :], weights, config.batch_size, rng)
                if len(batch) < 2:
                    continue
                total += self._step(optimizer, batch, weights)
            losses.append(total / steps)
            scores.append(validate())
            _log.info("adaptation, epoch %d: loss %.4f, validation recall %.4f", epoch, losses[-1], scores[-1])
            if scores[-1] > scores[best]:
                best, kept = epoch, self._state()
            elif epoch - best >= config.patience:
                break
        with torch.no_grad():
            for weight, value in zip(self.trained, kept, strict=True):
                weight.copy_(value)
        return Adaptation(losses, scores, best)

    def _step(self, optimizer: Any, batch: npt.NDArray[np.intp], weights: csr_array) -> float:
        vectors_BD = self.vectors(batch.tolist())
        logits_BB = vectors_BD @ vectors_BD.T / self._config.temperature
        logits_BB = logits_BB.masked_fill(torch.eye(len(batch), dtype=torch.bool, device=self._device), -1e4)
        wanted_BB = torch.from_numpy(weights[batch][:, batch].toarray()).to(self._device)
        sums_B = wanted_BB.sum(1)
        has_any = sums_B > 0
        target_BB = wanted_BB[has_any] / sums_B[has_any].unsqueeze(1)
        loss = nn.functional.cross_entropy(logits_BB[has_any], target_BB)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        optimizer.step()
        return float(loss.detach())

    def _state(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.trained]

    def save(self, directory: Path) -> None:
        """Write the adapted encoder in transformers format, adapters merged.

        Settings and tokenizer are those of its base. An earlier adaptation there is replaced; the new one counts once
        `config.json` is there. Its identity is the hash of its files. Mounted volumes take whole files only and rename
        no folders, so it is made on this machine's disk and copied file by file.

        Raises:
            RecipeError: When something else than an adaptation lies in the directory.
        """
        require_own(directory, self._config)
        merge_adapters(self.model)
        weights = {name: weight.detach().cpu().clone().contiguous() for name, weight in self.model.state_dict().items()}
        told = json.dumps({"base": self._config.encoder}, ensure_ascii=False) + "\n"
        with tempfile.TemporaryDirectory(prefix="mmrec-adaptation-") as scratch:
            weights_file = Path(scratch, "model.safetensors")
            save_file(weights, weights_file, metadata={"format": "pt"})
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "config.json").unlink(missing_ok=True)
            write_text_atomic(directory / MARKER, told)
            for old in directory.iterdir():
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old)
                elif old.name != MARKER:
                    old.unlink()
            shutil.copyfile(weights_file, directory / weights_file.name)
        for place in _settings_files(self._directory):
            (directory / place).parent.mkdir(exist_ok=True)
            shutil.copyfile(self._directory / place, directory / place)


def require_own(directory: Path, config: AdaptationConfig) -> None:
    """Refuse a directory that an adaptation must not replace.

    Raises:
        RecipeError: When something lies there that no adaptation wrote.
    """
    is_free = not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))
    if not is_free and not (directory / MARKER).is_file():
        raise RecipeError(
            f"Adaptation `{config.name}`: a directory that is free or holds an earlier adaptation ({MARKER}) is "
            f"needed, got something else in `{directory}`. Choose another adaptation.name."
        )


def _settings_files(directory: Path) -> list[Path]:
    """Files of settings and tokenizer of an encoder, relative to its directory; `config.json` is the last."""
    others = (DESCRIPTION_FILE, MARKER)
    own = [file for file in directory.iterdir() if file.suffix in (".json", ".model") or file.name in _TOKENIZER_TEXTS]
    own = [file for file in own if file.name not in others and not file.name.endswith(".index.json")]
    found = [file.relative_to(directory) for file in [*own, *directory.glob("*/config.json")] if file.is_file()]
    return sorted(found, key=lambda place: (place == Path("config.json"), place))


def _batch(
    nodes: npt.NDArray[np.intp], weights: csr_array, size: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Texts of a step: some in their order, and for each a neighbour by its weight; none twice."""
    chosen = dict[int, None]()
    for node in nodes[: size // 2].tolist():
        start, end = weights.indptr[node], weights.indptr[node + 1]
        own = weights.data[start:end]
        neighbour = int(rng.choice(weights.indices[start:end], p=own / own.sum()))
        chosen |= {node: None, neighbour: None}
    return np.array(list(chosen), np.intp)
