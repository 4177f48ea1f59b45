"""Tiny sequence classifiers as directories in transformers format."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

WORDS = ("good", "bad", "fine", "shoe", "not")


def make_sentiment_model(directory: Path, labels: tuple[str, ...], *, planted: bool = False) -> None:
    """A BERT with 32 positions that knows `WORDS`.

    Args:
        directory: Where to write.
        labels: Names of its classes.
        planted: Makes its last class win by far, whatever it reads.
    """
    torch.manual_seed(0)
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        # Large random weights, so that other words give other results.
        initializer_range=0.5,
    )
    model = BertForSequenceClassification(config)
    if planted:
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.copy_(torch.tensor([0.0] * (len(labels) - 1) + [9.0]))
    model.save_pretrained(directory)
