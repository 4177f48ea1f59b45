"""Saved models: one safetensors file with the arrays, one JSON file with the rest. No pickle, ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from mmrec_lib.errors import ModelError

ARRAYS_FILE = "model.safetensors"
META_FILE = "model.json"
FORMAT_VERSION = 2
# Format 1 called EASE with content `cease`.
_RENAMED_SINCE_1 = {"cease": "content_ease"}


def write_saved(folder: Path, kind: str, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Write arrays and JSON-ready values of a model of this kind into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, str(folder / ARRAYS_FILE))
    document = {"format_version": FORMAT_VERSION, "kind": kind, **meta}
    (folder / META_FILE).write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")


def read_saved(folder: Path, kind: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `write_saved` wrote.

    Raises:
        ModelError: When the folder holds no model, or one of another kind or format.
    """
    meta = read_meta(folder)
    if meta.get("kind") != kind:
        raise ModelError(f"saved model {folder}: must be a {kind}, got {meta.get('kind')}; load it with its own class")
    arrays = load_file(str(folder / ARRAYS_FILE))
    return {_renamed_array(name): array for name, array in arrays.items()}, meta


def arrays_under(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of one part of a model, by their names within it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def read_meta(folder: Path) -> dict[str, Any]:
    """The JSON part of a saved model.

    Raises:
        ModelError: When the folder holds no model or one of another format.
    """
    if not (folder / META_FILE).exists() or not (folder / ARRAYS_FILE).exists():
        raise ModelError(f"saved model {folder}: needs {META_FILE} and {ARRAYS_FILE}; name a folder written by save")
    meta: dict[str, Any] = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
    if meta.get("format_version") == 1:
        return {**_renamed(meta), "format_version": FORMAT_VERSION}
    if meta.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"saved model {folder}: this version reads format {FORMAT_VERSION}, got {meta.get('format_version')}; "
            "fit it again"
        )
    return meta


def _renamed(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Values of format 1 with the names that this format has for settings and sources; ids and words stay."""
    settings = {_RENAMED_SINCE_1.get(name, name): value for name, value in meta.get("settings", {}).items()}
    if isinstance(fusion := settings.get("fusion"), Mapping):
        settings["fusion"] = {_RENAMED_SINCE_1.get(name, name): weight for name, weight in fusion.items()}
    sources = [_RENAMED_SINCE_1.get(name, name) for name in meta.get("sources", ())]
    return {**meta, "settings": settings, "sources": sources}


def _renamed_array(name: str) -> str:
    return "/".join(_RENAMED_SINCE_1.get(part, part) for part in name.split("/"))
