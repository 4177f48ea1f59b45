"""Tiny random sound models as directories in transformers format."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    MobileNetV1Config,
    MobileNetV1ForImageClassification,
)

from mmrec_lib.encoders.config import ModelsConfig
from tests.unit.encoders.tiny_models import make_speech_model

SOUNDS = ("Bell", "Rain", "Silence")


def make_yamnet(directory: Path, num_channels: int = 1) -> None:
    """A YAMNet of an eighth of the width, 128 channels at its end."""
    torch.manual_seed(0)
    MobileNetV1ForImageClassification(
        MobileNetV1Config(
            num_channels=num_channels,
            image_size=96,
            depth_multiplier=0.125,
            hidden_act="relu",
            tf_padding=True,
            # The usual range would let the signal die out on its way through 27 layers.
            initializer_range=0.3,
            id2label=dict(enumerate(SOUNDS)),
        )
    ).save_pretrained(directory)


def make_ast(directory: Path, problem_type: str | None = None) -> None:
    """An AST of 16 dimensions for windows of 0.64 seconds."""
    torch.manual_seed(0)
    sizes = {"num_mel_bins": 32, "max_length": 64}
    ASTForAudioClassification(
        ASTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            id2label=dict(enumerate(SOUNDS)),
            problem_type=problem_type,
            **sizes,
        )
    ).save_pretrained(directory)
    ASTFeatureExtractor(**sizes).save_pretrained(directory)


def make_clap(directory: Path) -> None:
    """A CLAP with a space of 16 dimensions for windows of a second."""
    torch.manual_seed(0)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sound = {
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 1],
        "hidden_size": 16,
        "num_mel_bins": 64,
        "spec_size": 256,
        "num_hidden_layers": 2,
    }
    ClapModel(
        ClapConfig(text_config={"vocab_size": 50, **text}, audio_config=sound, projection_dim=16)
    ).save_pretrained(directory)
    ClapFeatureExtractor(max_length_s=1, truncation="rand_trunc").save_pretrained(directory)


def make_sound_models(root: Path) -> ModelsConfig:
    """One of each family, as encoders `yamnet`, `ast`, `clap`, `whisper` and `statistics`."""
    for name, make in (("yamnet", make_yamnet), ("ast", make_ast), ("clap", make_clap), ("whisper", make_speech_model)):
        (root / name).mkdir()
        make(root / name)
    encoders = {name: {"kind": "sound"} for name in ("yamnet", "ast", "clap", "whisper")}
    statistics = {"statistics": {"kind": "sound_statistics"}}
    return ModelsConfig.model_validate({"root": str(root), "encoders": encoders | statistics})


def wave_bytes(samples: npt.NDArray[np.floating], rate: int = 16_000) -> bytes:
    """Samples as the bytes of a WAV file that keeps them exactly."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def tone(seconds: float, hz: float = 440.0, loudness: float = 0.3) -> npt.NDArray[np.float64]:
    """A sine wave at 16 kHz."""
    wave: npt.NDArray[np.float64] = loudness * np.sin(2 * np.pi * hz * np.arange(int(seconds * 16_000)) / 16_000)
    return wave
