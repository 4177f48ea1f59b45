"""Language models of local directories in transformers format, from safetensors, never running code of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmrec_lib.encoders.weights.directory import read_model_config, require_safe
from mmrec_lib.errors import EncoderError


def load_language_model(directory: Path, *, causal_only: bool = False) -> tuple[Any, Any, bool]:
    """Tokenizer and network of a causal or seq2seq language model, and True where it is causal.

    Args:
        directory: The directory.
        causal_only: Refuses seq2seq models.

    Raises:
        EncoderError: When it holds pickles only, brings code of its own, or cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer

    require_safe(directory)
    is_causal = not read_model_config(directory).get("is_encoder_decoder", False)
    if causal_only and not is_causal:
        raise EncoderError(f"Model directory `{directory}`: a causal language model is needed, got a seq2seq one.")
    factory = AutoModelForCausalLM if is_causal else AutoModelForSeq2SeqLM
    try:
        tokenizer = load_tokenizer(directory)
        model = load_model(factory, directory, torch.float32)
    except (OSError, ValueError, KeyError, MemoryError) as error:
        raise EncoderError(
            f"Model directory `{directory}`: a causal or seq2seq language model is needed, got {error}."
        ) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise EncoderError(f"Model directory `{directory}`: a tokenizer with a pad or end token is needed.")
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    return tokenizer, model, is_causal


def as_asked(tokenizer: Any, prompt: str) -> Any:
    """The prompt as a model of dialogues expects it, where it is one."""
    if not tokenizer.chat_template:
        return prompt
    turns = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def fenced(data: str) -> str:
    """JSON as data in a prompt: no text in it can end a fence of angle brackets."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e")
