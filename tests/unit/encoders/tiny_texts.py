"""Tiny random text models of many families, as directories in transformers format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from mmrec_lib.encoders.config import ModelsConfig
from tests.unit.encoders.tiny_models import WORDS

_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_LLAMA = {**_BERT, "num_key_value_heads": 1, "max_position_embeddings": 64}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1}
# RoBERTa's tokens: 0 begins, 1 pads, 2 ends.
_ROBERTA = {**_BERT, "max_position_embeddings": 34, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}

FAMILIES: dict[str, Callable[[int], Any]] = {
    "bert": lambda size: BertModel(BertConfig(vocab_size=size, max_position_embeddings=32, **_BERT)),
    "roberta": lambda size: RobertaModel(RobertaConfig(vocab_size=size, **_ROBERTA)),
    "xlm-roberta": lambda size: XLMRobertaModel(XLMRobertaConfig(vocab_size=size, **_ROBERTA)),
    "mpnet": lambda size: MPNetModel(MPNetConfig(vocab_size=size, **_ROBERTA)),
    "distilbert": lambda size: DistilBertModel(
        DistilBertConfig(vocab_size=size, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=32)
    ),
    "gpt2": lambda size: GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
    ),
    "llama": lambda size: LlamaForCausalLM(LlamaConfig(vocab_size=size, **_LLAMA)),
    "qwen2": lambda size: Qwen2Model(Qwen2Config(vocab_size=size, **_LLAMA)),
    "t5": lambda size: T5ForConditionalGeneration(T5Config(vocab_size=size, **_T5)),
}
DECODERS = ("gpt2", "llama", "qwen2")


def make_text_model(directory: Path, family: str) -> None:
    """A model of 16 dimensions of a family; decoders get a tokenizer without special tokens and without padding.

    Qwen's reads bytes, so it knows every text; the others know `WORDS`.
    """
    torch.manual_seed(0)
    # As directories for generation have it; it must not matter.
    sides = {"padding_side": "left", "truncation_side": "left"}
    if family == "qwen2":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **sides).save_pretrained(directory)
        FAMILIES[family](320).save_pretrained(directory)
        return
    vocabulary = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "<unk>", "eos_token": "</s>"}
    if family not in DECODERS:
        begin = "" if family == "t5" else "<s> "
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin}$A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        names |= {"pad_token": "<pad>", "bos_token": "<s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **sides, **names).save_pretrained(directory)
    FAMILIES[family](len(vocabulary)).save_pretrained(directory)


def make_families(root: Path) -> ModelsConfig:
    """All families under a folder, as models of their names."""
    for family in FAMILIES:
        (root / family).mkdir()
        make_text_model(root / family, family)
    encoders = {family: {"kind": "text", "dtype": "float32"} for family in FAMILIES}
    return ModelsConfig.model_validate({"root": str(root), "encoders": encoders, "backend": "torch"})


def add_sentence_layout(
    directory: Path,
    *,
    pooling: str = "pooling_mode_mean_tokens",
    steps: tuple[str, ...] = ("Pooling", "Normalize"),
    prompts: dict[str, str] | None = None,
    default_prompt: str | None = None,
    max_seq_length: int | None = None,
) -> None:
    """The files of sentence-transformers beside a model; a Dense step turns 16 numbers into 4."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for index, step in enumerate(steps, start=1):
        path = directory / f"{index}_{step}"
        path.mkdir()
        modules.append(
            {"idx": index, "name": str(index), "path": path.name, "type": f"sentence_transformers.models.{step}"}
        )
        if step == "Pooling":
            modes = dict.fromkeys(
                ("pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_lasttoken"), False
            )
            _write(path / "config.json", {"word_embedding_dimension": 16, **modes, pooling: True})
        if step == "Dense":
            torch.manual_seed(1)
            activation = "torch.nn.modules.activation.Tanh"
            _write(
                path / "config.json",
                {"in_features": 16, "out_features": 4, "bias": True, "activation_function": activation},
            )
            save_file({"linear.weight": torch.randn(4, 16), "linear.bias": torch.randn(4)}, path / "model.safetensors")
    _write(directory / "modules.json", modules)
    if prompts is not None:
        settings = {"prompts": prompts, "default_prompt_name": default_prompt}
        _write(directory / "config_sentence_transformers.json", settings)
    if max_seq_length is not None:
        _write(directory / "sentence_bert_config.json", {"max_seq_length": max_seq_length})


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")
