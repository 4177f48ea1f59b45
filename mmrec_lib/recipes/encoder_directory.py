"""Directories of encoders that a training made, in transformers format."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from mmrec_lib.encoders.weights.directory import DESCRIPTION_FILE
from mmrec_lib.errors import RecipeError
from mmrec_lib.files import write_text_atomic

MARKER = "adaptation.json"
"""File by which a directory is known as an adapted encoder."""
_CONFIG = "config.json"
_TOKENIZER_TEXTS = ("vocab.txt", "merges.txt")


def save_encoder(
    model: nn.Module, source: Path, target: Path, *, base: str, changes: Mapping[str, Any] | None = None
) -> None:
    """Write an encoder whose settings and tokenizer are those of another one.

    An earlier one there is replaced; the new one counts once `config.json` is there. Its identity is the hash of its
    files. Mounted volumes take whole files only and rename no folders, so it is made on this machine's disk and copied
    file by file.

    Args:
        model: The network.
        source: Directory of the other one.
        target: Directory to write.
        base: Name of the other one.
        changes: Settings of `config.json` that differ.

    Raises:
        RecipeError: When something else than such an encoder lies in the directory.
    """
    require_own(target, target.name)
    weights = {name: weight.detach().cpu().clone().contiguous() for name, weight in model.state_dict().items()}
    told = json.dumps({"base": base}, ensure_ascii=False) + "\n"
    with tempfile.TemporaryDirectory(prefix="mmrec-adaptation-") as scratch:
        weights_file = Path(scratch, "model.safetensors")
        save_file(weights, weights_file, metadata={"format": "pt"})
        target.mkdir(parents=True, exist_ok=True)
        (target / _CONFIG).unlink(missing_ok=True)
        write_text_atomic(target / MARKER, told)
        for old in target.iterdir():
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            elif old.name != MARKER:
                old.unlink()
        shutil.copyfile(weights_file, target / weights_file.name)
    for place in _settings_files(source):
        (target / place).parent.mkdir(exist_ok=True)
        if place == Path(_CONFIG) and changes:
            settings = json.loads((source / place).read_text(encoding="utf-8"))
            write_text_atomic(target / place, json.dumps({**settings, **changes}, ensure_ascii=False, indent=2) + "\n")
        else:
            shutil.copyfile(source / place, target / place)


def require_own(directory: Path, name: str) -> None:
    """Refuse a directory that an adaptation must not replace.

    Raises:
        RecipeError: When something lies there that no adaptation wrote.
    """
    is_free = not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))
    if not is_free and not (directory / MARKER).is_file():
        raise RecipeError(
            f"Adaptation `{name}`: a directory that is free or holds an earlier adaptation ({MARKER}) is needed, got "
            f"something else in `{directory}`. Choose another adaptation.name (of a student adaptation.student.name)."
        )


def _settings_files(directory: Path) -> list[Path]:
    """Files of settings and tokenizer of an encoder, relative to its directory; `config.json` is the last."""
    others = (DESCRIPTION_FILE, MARKER)
    own = [file for file in directory.iterdir() if file.suffix in (".json", ".model") or file.name in _TOKENIZER_TEXTS]
    own = [file for file in own if file.name not in others and not file.name.endswith(".index.json")]
    found = [file.relative_to(directory) for file in [*own, *directory.glob("*/config.json")] if file.is_file()]
    return sorted(found, key=lambda place: (place == Path(_CONFIG), place))
