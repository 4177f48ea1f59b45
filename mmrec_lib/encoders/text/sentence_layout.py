"""Turning token vectors into one, as a model directory says: the files of the sentence-transformers layout.

`modules.json` lists the steps behind the network, `<path>/config.json` their settings. A directory without it is a
plain network, and its vectors are the mean over tokens, with length 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmrec_lib.encoders.text.config import Pooling, TextConfig
from mmrec_lib.encoders.weights.directory import read_model_config
from mmrec_lib.errors import EncoderError

_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_POOLING_NAMES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
# What families call the length of their token vectors.
_DIM_NAMES = ("hidden_size", "n_embd", "d_model", "dim")


@dataclass(frozen=True)
class SentenceLayout:
    """Steps from token vectors to the vector of a text.

    Attributes:
        pooling: How token vectors become one.
        normalise: Whether vectors get length 1.
        prompt: What stands before every text; empty for nothing.
        max_tokens: Longest window the model was made for, special tokens included; None where nothing is said.
        dense: Folders of linear layers behind the pooling, in their order.
        dim: Length of the vectors; None where the directory does not tell.
    """

    pooling: Pooling = "mean"
    normalise: bool = True
    prompt: str = ""
    max_tokens: int | None = None
    dense: tuple[Path, ...] = ()
    dim: int | None = None


def sentence_layout(config: TextConfig, directory: Path) -> SentenceLayout:
    """The steps of a configured text model: what the config leaves open is as the directory says.

    Raises:
        EncoderError: When the directory asks for a step that is not supported, or holds malformed files.
    """
    layout = _of_directory(directory, config.pooling)
    given = {"pooling": config.pooling, "normalise": config.normalise, "prompt": config.prompt}
    return replace(layout, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _of_directory(directory: Path, pooling: Pooling | None) -> SentenceLayout:
    modules_file = directory / "modules.json"
    settings = read_model_config(directory)
    dim = next((int(settings[name]) for name in _DIM_NAMES if isinstance(settings.get(name), int)), None)
    prompt = _default_prompt(directory / "config_sentence_transformers.json")
    if not modules_file.is_file():
        return SentenceLayout(prompt=prompt, dim=dim)
    steps = [(str(row.get("type", "")).rsplit(".", 1)[-1], str(row.get("path", ""))) for row in _rows(modules_file)]
    layout = SentenceLayout(normalise=False, prompt=prompt, dim=dim)
    for kind, path in steps:
        if kind == "Transformer" and path in ("", "."):
            longest = _json(directory / "sentence_bert_config.json").get("max_seq_length")
            layout = replace(layout, max_tokens=longest if isinstance(longest, int) else None)
        elif kind == "Pooling":
            layout = replace(layout, pooling=pooling or _pooling(directory / path / "config.json", prompt))
        elif kind == "Dense":
            out = _json(directory / path / "config.json").get("out_features")
            layout = replace(
                layout, dense=(*layout.dense, directory / path), dim=out if isinstance(out, int) else layout.dim
            )
        elif kind == "Normalize":
            layout = replace(layout, normalise=True)
        else:
            raise EncoderError(
                f"Model directory `{directory}`: steps Transformer (in the folder itself), Pooling, Dense and "
                f"Normalize are supported in modules.json, got {kind or 'none'} in `{path}`."
            )
    return layout


def _pooling(file: Path, prompt: str) -> Pooling:
    settings = _json(file)
    named = settings.get("pooling_mode")
    wanted = (
        [named] if isinstance(named, str) else [n for n, on in settings.items() if "pooling_mode" in n and on is True]
    )
    found = {**_POOLINGS, **_POOLING_NAMES}.get(wanted[0]) if len(wanted) == 1 else None
    if found is None:
        raise EncoderError(
            f"Pooling `{file}`: one of {', '.join(_POOLINGS)} is supported, got {', '.join(wanted) or 'none'}. "
            "Set the model's `pooling` to use another than it was made with."
        )
    if prompt and settings.get("include_prompt") is False:
        raise EncoderError(
            f"Pooling `{file}`: a prompt counts as part of the text, but include_prompt is false. Set the model's "
            '`prompt` to "" to do without.'
        )
    return found


def _default_prompt(file: Path) -> str:
    settings = _json(file) if file.is_file() else {}
    prompts, name = settings.get("prompts"), settings.get("default_prompt_name")
    prompt = prompts.get(name) if isinstance(prompts, dict) and name is not None else None
    return prompt if isinstance(prompt, str) else ""


def _rows(file: Path) -> list[dict[str, Any]]:
    rows = _parsed(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise EncoderError(f"File `{file}`: a list of steps is needed, got something else.")
    return rows


def _json(file: Path) -> dict[str, Any]:
    """A JSON object; an empty one where the file may be missing, because its settings have defaults."""
    content = _parsed(file) if file.is_file() or file.name == "config.json" else {}
    if not isinstance(content, dict):
        raise EncoderError(f"File `{file}`: a JSON object is needed, got something else.")
    return content


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"File `{file}`: JSON is needed, got: {error}.") from None
