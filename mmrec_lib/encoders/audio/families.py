"""Families of sound models, and the length of their vectors, told from a directory without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Mean and spread of 64 bands; mean, spread and three quantiles of 20 cepstra; mean and spread of two slopes of them.
STATISTICS_DIM = 2 * 64 + 5 * 20 + 2 * 2 * 20

_FAMILIES = {
    "mobilenet_v1": "yamnet",
    "audio-spectrogram-transformer": "ast",
    "clap": "clap",
    "whisper": "whisper",
}


def family_of(settings: Mapping[str, Any]) -> str:
    """yamnet, ast, clap or whisper, from a model's config.json.

    Raises:
        ValueError: When it is none of them.
    """
    model_type = settings.get("model_type")
    family = _FAMILIES.get(str(model_type))
    if family is None:
        raise ValueError(f"model_type {model_type}, one of {', '.join(_FAMILIES)} is needed")
    return family


def sound_dim(settings: Mapping[str, Any]) -> int | None:
    """Length of the vectors of a sound model; None where its config.json does not tell."""
    match settings.get("model_type"):
        case "mobilenet_v1":
            # Mean and spread of the last of its layers, which has 1,024 channels at full depth.
            channels = max(int(1024 * float(settings.get("depth_multiplier", 1.0))), int(settings.get("min_depth", 8)))
            return 2 * channels
        case "audio-spectrogram-transformer":
            dim = settings.get("hidden_size")
        case "clap":
            dim = settings.get("projection_dim")
        case "whisper":
            dim = settings.get("d_model")
        case _:
            dim = None
    return dim if isinstance(dim, int) else None
