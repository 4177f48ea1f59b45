"""Tiny random sequence classifiers of many families, with the tokenizer of `tiny_sentiment`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tests.unit.encoders.tiny_sentiment import WORDS, make_sentiment_model

LABELS = ("negative", "neutral", "positive")
_NAMED = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}
_SIZES = {"vocab_size": 4 + len(WORDS), "initializer_range": 0.5, "init_std": 0.5, **_NAMED}
_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_BART = {f"{side}_{part}": 2 for side in ("encoder", "decoder") for part in ("layers", "attention_heads")}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}

FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    # Of its 34 positions 33 hold tokens: they are counted from behind the one of padding.
    "roberta": lambda: RobertaForSequenceClassification(
        RobertaConfig(max_position_embeddings=34, **_TOKENS, **_BERT, **_SIZES)
    ),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=32, **_SIZES)
    ),
    "bart": lambda: BartForSequenceClassification(
        BartConfig(d_model=16, max_position_embeddings=64, decoder_start_token_id=3, **_TOKENS, **_BART, **_SIZES)
    ),
    # Neither of these names a token for padding.
    "gpt2": lambda: GPT2ForSequenceClassification(
        GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3, **_SIZES)
    ),
    "llama": lambda: LlamaForSequenceClassification(
        LlamaConfig(num_key_value_heads=1, max_position_embeddings=64, **_BERT, **_SIZES)
    ),
}


def make_classifier_of_family(directory: Path, family: str) -> None:
    """A classifier of `LABELS` that knows `tiny_sentiment.WORDS`."""
    make_sentiment_model(directory, LABELS)
    torch.manual_seed(0)
    FAMILIES[family]().save_pretrained(directory)


def plain_logits(directory: Path, ids: list[int]) -> Any:
    """Logits of one text by a plain transformers call, without padding: `[num_labels]`."""
    model: Any = FAMILIES[directory.name]().from_pretrained(directory).eval()
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].double()
