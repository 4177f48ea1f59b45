"""Masked-language-model training of a text encoder on the store's own texts: hidden words are told from the others.

Devlin, Chang, Lee and Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding"
(2019), with whole words hidden, as its authors added in May 2019. Gururangan, Marasović, Swayamdipta, Lo, Beltagy,
Downey and Smith, "Don't Stop Pretraining" (2020), show that a domain's own texts help what is learned afterwards.

Shape legend: B texts, L tokens, D dimensions, E dimensions of word embeddings, M hidden tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM
from transformers.modeling_outputs import BaseModelOutput

from mmrec_lib.encoders.weights.loading import load_model
from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.checkpoints import Checkpoints
from mmrec_lib.recipes.epochs import Course, Steps, train_epochs

NOT_ASKED = -100
_SHOWN_AS_MASK, _SHOWN_AS_ANY = 0.8, 0.9
_BATCHES_SORTED = 8
_VALID_STREAM = 0


@dataclass(frozen=True)
class Tokens:
    """A text as it is masked.

    Attributes:
        ids: Its tokens.
        words: Places of the tokens of each word; special tokens are in none.
    """

    ids: list[int]
    words: list[list[int]]


class Masking:
    """Hides words of texts: of the chosen tokens 80 % become the mask, 10 % any token, and 10 % stay."""

    def __init__(self, tokenizer: Any, share: float) -> None:
        """Bind to a tokenizer.

        Args:
            tokenizer: A fast tokenizer of transformers.
            share: Share of the tokens of a text that are chosen, word by word.

        Raises:
            RecipeError: When it has no mask.
        """
        if tokenizer.mask_token_id is None:
            raise RecipeError(
                "Step masked_language: a tokenizer with a mask token is needed, as BERT's and RoBERTa's have one, got "
                "one without. Leave the step out (adaptation.steps: [behaviour])."
            )
        self._share, self._mask_id = share, int(tokenizer.mask_token_id)
        special = set(tokenizer.all_special_ids)
        self._others = np.array([number for number in range(len(tokenizer)) if number not in special])

    def tokens(self, encoded: Any) -> list[Tokens]:
        """Texts with their words.

        Where a tokenizer takes a whole text for one word, as those without a rule for spaces do, each token is one.

        Args:
            encoded: What the tokenizer made of them.
        """
        found = []
        for number, ids in enumerate(encoded["input_ids"]):
            numbered = [(word, place) for place, word in enumerate(encoded.word_ids(number)) if word is not None]
            words = [[place for _, place in group] for _, group in groupby(numbered, key=lambda entry: entry[0])]
            if len(words) == 1:
                words = [[place] for place in words[0]]
            found.append(Tokens(list(ids), words))
        return found

    def hidden(self, text: Tokens, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """A text with hidden words, and the right token at each place that is asked for, else `NOT_ASKED`."""
        ids, right = list(text.ids), [NOT_ASKED] * len(text.ids)
        wanted, chosen = max(1, round(self._share * sum(map(len, text.words)))), 0
        for word in rng.permutation(len(text.words)).tolist():
            places = text.words[word]
            if chosen and chosen + len(places) > wanted:
                continue
            chosen += len(places)
            for place in places:
                right[place] = ids[place]
                chance = rng.random()
                if chance < _SHOWN_AS_MASK:
                    ids[place] = self._mask_id
                elif chance < _SHOWN_AS_ANY:
                    ids[place] = int(rng.choice(self._others))
            if chosen >= wanted:
                break
        return ids, right


class TokenHead(nn.Module):
    """Token vectors → logits of the vocabulary; `load_head` makes the one that fits an encoder."""

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits `[M, V]`."""
        raise NotImplementedError


class OwnHead(TokenHead):
    """The head that came with the encoder, as its family computes it."""

    def __init__(self, model: Any, embeddings: nn.Parameter) -> None:
        super().__init__()
        self._given = _Given()
        setattr(model, model.base_model_prefix, self._given)
        out = model.get_output_embeddings()
        if out is not None and out.weight.shape == embeddings.shape:
            out.weight = embeddings
        self.model = model

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits `[M, V]`."""
        self._given.hidden = hidden_MD.unsqueeze(0)
        ids_1M = torch.zeros(1, len(hidden_MD), dtype=torch.long, device=hidden_MD.device)
        logits: Tensor = self.model(input_ids=ids_1M).logits
        return logits.squeeze(0)


class _Given(nn.Module):
    """Stands for the encoder of a model: gives token vectors that were computed already."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.hidden)


class TiedHead(TokenHead):
    """A new head in BERT's form whose last layer is the word embeddings; its first one is the identity at first."""

    def __init__(self, embeddings: nn.Parameter, dim: int) -> None:
        super().__init__()
        width = embeddings.shape[1]
        self.dense = nn.Linear(dim, width)
        nn.init.eye_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.norm = nn.LayerNorm(width)
        self.embeddings = embeddings
        self.bias = nn.Parameter(torch.zeros(embeddings.shape[0]))

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits `[M, V]`."""
        mixed_ME = self.norm(nn.functional.gelu(self.dense(hidden_MD)))
        logits_MV: Tensor = mixed_ME @ self.embeddings.T + self.bias
        return logits_MV


def load_head(adapter: TextAdapter) -> TokenHead:
    """The head of a directory that has one, else a new one from the word embeddings of the encoder."""
    embeddings = adapter.model.get_input_embeddings().weight
    prefix = getattr(adapter.model, "base_model_prefix", "")
    try:
        own = load_model(
            AutoModelForMaskedLM, adapter.directory, torch.float32, unused=("pooler.", f"{prefix}.pooler.")
        )
    except (OSError, ValueError, KeyError):
        # The directory holds the encoder, which is loaded already, and no head, or its family has none.
        head: TokenHead = TiedHead(embeddings, adapter.dim)
    else:
        head = OwnHead(own, embeddings)
    head.to(adapter.device)
    return head


def fit_masked_language(
    adapter: TextAdapter, train: Sequence[str], valid: Sequence[str], checkpoints: Checkpoints | None = None
) -> Course:
    """Train an encoder to tell hidden words; validation is minus the mean loss, of the same words in each epoch.

    Args:
        adapter: The encoder; it ends with the weights of the best epoch.
        train: Texts that are learned from.
        valid: Texts that choose the epoch.
        checkpoints: Where a killed run goes on from; None keeps nothing on disk.

    Raises:
        RecipeError: When the tokenizer has no mask, or no text has a word.
    """
    config = adapter.config
    step_config = config.masked_language
    masking = Masking(adapter.tokenizer, step_config.mask_share)
    of_train, of_valid = (
        [one for one in masking.tokens(adapter.tokenized(list(texts))) if one.words] if texts else []
        for texts in (train, valid)
    )
    if not of_train or not of_valid:
        raise RecipeError(
            f"Adaptation of `{config.encoder}`, step masked_language: texts with words are needed among the items of "
            f"train and valid, got {len(of_train)} and {len(of_valid)}."
        )
    torch.manual_seed(config.seed)
    head = load_head(adapter)
    trained = {f"encoder.{name}": weight for name, weight in adapter.trained.items()}
    known = {id(weight) for weight in adapter.model.parameters()}
    trained |= {f"head.{name}": one for name, one in head.named_parameters() if id(one) not in known}
    num_batches = -(-len(of_train) // config.batch_size)
    steps = Steps(trained, step_config.learning_rate, step_config.max_epochs * num_batches)
    rng_of_valid = np.random.default_rng([config.seed, _VALID_STREAM])
    asked = [masking.hidden(one, rng_of_valid) for one in of_valid]

    def loss_of(batch: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        ids_BL, mask_BL = adapter.padded([ids for ids, _ in batch])
        right_BL = torch.full_like(ids_BL, NOT_ASKED)
        for row, (_, right) in enumerate(batch):
            right_BL[row, : len(right)] = torch.tensor(right)
        is_asked_BL = right_BL != NOT_ASKED
        logits_MV = head(adapter.hidden(ids_BL, mask_BL)[is_asked_BL])
        return nn.functional.cross_entropy(logits_MV, right_BL[is_asked_BL])

    def epoch_of(epoch: int) -> float:
        rng = np.random.default_rng([config.seed, epoch])
        torch.manual_seed(config.seed * 1_000_003 + epoch)
        adapter.model.eval()  # Dropout stays off, as in the other step.
        total = 0.0
        batches = _batches(of_train, config.batch_size, rng)
        for number, batch in enumerate(batches):
            steps.set_rate((epoch - 1) * num_batches + number)
            total += steps.take(loss_of([masking.hidden(one, rng) for one in batch]))
        return total / len(batches)

    def validate() -> float:
        adapter.model.eval()
        sums, count = 0.0, 0
        with torch.inference_mode():
            for start in range(0, len(asked), config.batch_size):
                batch = asked[start : start + config.batch_size]
                size = sum(one != NOT_ASKED for _, right in batch for one in right)
                sums += float(loss_of(batch)) * size
                count += size
        return -sums / count

    return train_epochs(
        "masked_language",
        steps,
        epoch_of,
        validate,
        max_epochs=step_config.max_epochs,
        patience=step_config.patience,
        checkpoints=checkpoints,
    )


def _batches(texts: Sequence[Tokens], size: int, rng: np.random.Generator) -> list[list[Tokens]]:
    """Texts in batches, those of about the same length together as far as chance has brought them near."""
    order = [texts[number] for number in rng.permutation(len(texts)).tolist()]
    batches = []
    for start in range(0, len(order), size * _BATCHES_SORTED):
        near = sorted(order[start : start + size * _BATCHES_SORTED], key=lambda one: len(one.ids))
        batches += [near[place : place + size] for place in range(0, len(near), size)]
    return [batches[number] for number in rng.permutation(len(batches)).tolist()]
