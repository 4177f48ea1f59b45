"""Tiny random models as directories in transformers format, and where the real ones are."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from mmrec_lib.encoders.config import ModelsConfig

WORDS = (
    "red",
    "blue",
    "green",
    "shoe",
    "boot",
    "dress",
    "warm",
    "soft",
    "light",
    "cheap",
    "fine",
    "old",
    "new",
    "city",
    "river",
    "stone",
)


def make_text_model(directory: Path, *, num_layers: int = 2, with_mask: bool = False, with_head: bool = False) -> None:
    """A BERT of 16 dimensions and 32 positions that knows `WORDS`.

    Args:
        directory: Where to.
        num_layers: Its depth.
        with_mask: Whether its tokenizer has a mask token, the last of the vocabulary.
        with_head: Whether its weights have a head that tells hidden words.
    """
    torch.manual_seed(0)
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *(["[MASK]"] if with_mask else [])]
    vocabulary = {word: index for index, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        **({"mask_token": "[MASK]"} if with_mask else {}),
    ).save_pretrained(directory)
    family = BertForMaskedLM if with_head else BertModel
    family(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=num_layers,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
    ).save_pretrained(directory)


def make_image_model(directory: Path) -> None:
    """A vision transformer of 16 dimensions for images of 32 x 32 pixels."""
    torch.manual_seed(0)
    ViTModel(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
        )
    ).save_pretrained(directory)
    settings = {
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def make_speech_model(directory: Path) -> None:
    """A Whisper with windows of 3 seconds that says random words of `WORDS`."""
    torch.manual_seed(0)
    vocabulary = {word: index for index, word in enumerate(["<|endoftext|>", "<|startoftranscript|>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end, unk_token=end
    ).save_pretrained(directory)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(vocabulary),
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_source_positions=150,
            max_target_positions=32,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            decoder_start_token_id=1,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )
    model.generation_config.is_multilingual = False
    model.generation_config.no_timestamps_token_id = 1
    model.generation_config.suppress_tokens = [1]
    model.save_pretrained(directory)
    WhisperFeatureExtractor(chunk_length=3).save_pretrained(directory)


def make_models(root: Path) -> ModelsConfig:
    """All three under a folder, as models `tiny-text`, `tiny-image` and `tiny-speech`."""
    for name, make in (("text", make_text_model), ("image", make_image_model), ("speech", make_speech_model)):
        (root / f"tiny-{name}").mkdir()
        make(root / f"tiny-{name}")
    encoders = {f"tiny-{kind}": {"kind": kind, "dtype": "float32"} for kind in ("text", "image", "speech")}
    # Tiny networks are converted more slowly than torch computes them.
    return ModelsConfig.model_validate({"root": str(root), "encoders": encoders, "backend": "torch"})


def packaged_models() -> ModelsConfig:
    """The real models; skips the test, saying so, where they are not prepared."""
    project = Path(__file__).parents[3]
    root = Path(os.environ.get("MMREC_MODELS_ROOT", project / "models"))
    if not (root / "all-minilm-l6-v2").is_dir():
        pytest.skip(f"no packaged models under {root}: run python -m mmrec_lib.encoders.weights.prepare --root {root}")
    return ModelsConfig(root=str(root))


def image_bytes(seed: int, width: int = 60, height: int = 80, kind: str = "PNG") -> bytes:
    """A random image as the bytes of a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def sound_bytes(seconds: float, rate: int = 16_000, kind: str = "WAV", loudness: float = 0.1) -> bytes:
    """Noise as the bytes of a file."""
    samples = np.random.default_rng(0).standard_normal(int(seconds * rate)) * loudness
    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1, 1), rate, format=kind)
    return file.getvalue()
