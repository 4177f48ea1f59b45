from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import sound_bytes
from tests.unit.encoders.tiny_sound import make_sound_models, make_yamnet, tone, wave_bytes

DIMS = {"yamnet": 256, "ast": 16, "clap": 16, "whisper": 16, "statistics": 308}


@pytest.fixture(scope="module")
def sound_models(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    return make_sound_models(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def encoders(sound_models: ModelsConfig) -> dict[str, Encoder]:
    made = {name: make_encoder(sound_models.encoders[name], sound_models) for name in DIMS}
    for encoder in made.values():
        encoder.load()
    return made


@pytest.mark.parametrize("name", DIMS)
def test_every_family_gives_vectors_of_the_length_that_its_spec_says(encoders: dict[str, Encoder], name: str) -> None:
    encoder = encoders[name]
    assert (encoder.spec.dim, encoder.spec.modality, encoder.spec.input_kind) == (DIMS[name], "audio", "audio")
    result = encoder.encode([sound_bytes(1.0), sound_bytes(0.7, 44_100, "FLAC"), wave_bytes(tone(2.5))])
    assert result.errors == [None] * 3
    assert result.vectors.shape == (3, DIMS[name]) and np.isfinite(result.vectors).all()
    assert not np.allclose(result.vectors[0], result.vectors[2])


@pytest.mark.parametrize("name", DIMS)
def test_vector_does_not_depend_on_the_batch(encoders: dict[str, Encoder], name: str) -> None:
    sounds = [sound_bytes(seconds) for seconds in (0.05, 0.4, 3.3)]
    together = encoders[name].encode(sounds).vectors
    alone = np.concatenate([encoders[name].encode([sound]).vectors for sound in sounds])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("name", DIMS)
def test_silence_and_a_single_sample_are_no_errors(encoders: dict[str, Encoder], name: str) -> None:
    result = encoders[name].encode([wave_bytes(np.zeros(16_000)), wave_bytes(np.zeros(1))])
    assert result.errors == [None, None] and np.isfinite(result.vectors).all()


@pytest.mark.parametrize("name", ["yamnet", "statistics"])
def test_what_cannot_be_decoded_is_a_row_with_an_error(encoders: dict[str, Encoder], name: str) -> None:
    good = sound_bytes(0.5)
    result = encoders[name].encode([b"RIFF", good, None, b"", good[: len(good) // 2], "text"])
    assert [error is None for error in result.errors] == [False, True, False, False, False, False]
    assert not result.vectors[0].any() and result.vectors[1].any()


def test_mean_and_spread_of_a_sound_that_does_not_change(encoders: dict[str, Encoder]) -> None:
    # A whole number of waves a hop: all windows hold the same samples.
    samples = np.tile(tone(0.48, hz=500.0), 6)
    vector = encoders["yamnet"].encode([wave_bytes(samples[: 2 * 7_680 + 15_600])]).vectors[0]
    mean, spread = vector[:128], vector[128:]
    assert spread.max() < 1e-3 * mean.max()


def test_long_sound_is_heard_in_pieces_from_its_whole_length(sound_models: ModelsConfig) -> None:
    config = sound_models.encoders["ast"].model_copy(update={"heard_seconds": 1.28})
    encoder = make_encoder(config, sound_models)
    encoder.load()
    samples = np.random.default_rng(0).standard_normal(10 * 10_240) * 0.1
    changed = {}
    for name, place in {"first": 0, "middle": 5, "last": 9}.items():
        other = samples.copy()
        other[place * 10_240 : (place + 1) * 10_240] = 0.5 * tone(0.64)
        changed[name] = not np.allclose(*encoder.encode([wave_bytes(samples), wave_bytes(other)]).vectors, atol=1e-4)
    assert changed == {"first": True, "middle": False, "last": True}


def test_an_hour_of_sound_is_sound_and_more_is_refused_with_a_reason() -> None:
    samples = np.zeros(3_600 * 8_000, np.int16)
    samples[:8_000] = (tone(0.5) * 30_000).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, 8_000, "PCM_U8", format="WAV")
    entries = {"hour": {"heard_seconds": 60.0}, "less": {"max_seconds": 3_599.0}}
    models = ModelsConfig.model_validate(
        {"encoders": {name: {"kind": "sound_statistics", **settings} for name, settings in entries.items()}}
    )
    results = {}
    for name in entries:
        encoder = make_encoder(models.encoders[name], models)
        encoder.load()
        results[name] = encoder.encode([file.getvalue()])
    assert results["hour"].errors == [None] and results["hour"].vectors.any()
    assert str(results["less"].errors[0]).startswith("media_oversized: 3,600 seconds")


def test_what_is_heard_at_most_is_part_of_the_revision(sound_models: ModelsConfig) -> None:
    for name in ("yamnet", "statistics"):
        config = sound_models.encoders[name]
        other = config.model_copy(update={"heard_seconds": 60.0})
        assert make_encoder(config, sound_models).spec.revision != make_encoder(other, sound_models).spec.revision


def test_statistics_need_no_directory() -> None:
    models = ModelsConfig(root="nowhere")
    encoder = make_encoder(models.encoders["sound-statistics"], models)
    encoder.load()
    assert encoder.encode([sound_bytes(0.2)]).errors == [None]


def test_loudness_alone_moves_statistics_less_than_another_sound(encoders: dict[str, Encoder]) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000)
    quiet, loud, other = (
        encoders["statistics"]
        .encode([wave_bytes(0.05 * noise), wave_bytes(0.1 * noise), wave_bytes(tone(1.0))])
        .vectors
    )
    assert np.linalg.norm(quiet - loud) < np.linalg.norm(quiet - other) / 2


def test_network_for_images_is_refused_by_name(sound_models: ModelsConfig, tmp_path: Path) -> None:
    make_yamnet(tmp_path, num_channels=3)
    config = encoder_config(id="wrong", kind="sound", directory=str(tmp_path))
    with pytest.raises(EncoderError, match=r"wrong.*images of 3 colours"):
        make_encoder(config, sound_models).load()


def test_family_that_is_none_of_sound_is_refused(tiny_models: ModelsConfig) -> None:
    config = encoder_config(id="wrong", kind="sound", directory="tiny-text")
    with pytest.raises(EncoderError, match="model_type bert"):
        make_encoder(config, tiny_models).load()
