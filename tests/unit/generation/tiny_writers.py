"""Tiny random language models as directories in transformers format."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

WORDS = ("because", "you", "turned", "to", "facts", "free", "reviews", "praise")


def make_writer(directory: Path, family: str) -> None:
    """A language model of family gpt2 or t5 that knows `WORDS`."""
    torch.manual_seed(0)
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[END]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # GPT-2 comes without a token for padding.
    tokens = {"unk_token": "[UNK]", "eos_token": "[END]", **({"pad_token": "[PAD]"} if family == "t5" else {})}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens).save_pretrained(directory)
    size = len(vocabulary)
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=2
        )
        GPT2LMHeadModel(config).save_pretrained(directory)
        return
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=size,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            pad_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=0,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        # Of the special tokens none wins against the words.
        model.lm_head.weight[:3] = 0
    model.save_pretrained(directory)
