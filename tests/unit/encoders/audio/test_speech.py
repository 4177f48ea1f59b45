from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.encoders.audio.speech import split_at_pauses
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import make_extractor
from mmrec_lib.encoders.spec import Extractor
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import WORDS, sound_bytes


@pytest.fixture(scope="module")
def extractor(tiny_models: ModelsConfig) -> Extractor:
    made = make_extractor(tiny_models.encoders["tiny-speech"], tiny_models)
    made.load()
    return made


def test_sound_becomes_words_of_the_vocabulary(extractor: Extractor) -> None:
    result = extractor.extract([sound_bytes(1.0), sound_bytes(0.5, 8_000, "FLAC")])
    assert [(words.error, words.language) for words in result] == [(None, "en")] * 2
    for words in result:
        assert words.text is not None and set(words.text.split()) <= set(WORDS)


def test_what_cannot_be_decoded_is_a_row_with_an_error(extractor: Extractor) -> None:
    good = sound_bytes(0.5)
    result = extractor.extract([b"RIFF", good, None, b"", good[: len(good) // 2], "text"])
    assert [words.error is None for words in result] == [False, True, False, False, False, False]
    assert [words.text is None for words in result] == [True, False, True, True, True, True]


def test_silence_says_nothing_and_is_no_error(extractor: Extractor) -> None:
    (words,) = extractor.extract([sound_bytes(1.0, loudness=0.0)])
    assert (words.text, words.error) == ("", None)


def test_transcript_does_not_depend_on_the_batch(extractor: Extractor) -> None:
    sounds = [sound_bytes(seconds) for seconds in (0.4, 1.0, 4.0)]
    together = extractor.extract(sounds)
    assert [extractor.extract([sound])[0] for sound in sounds] == together


def test_too_long_sound_is_a_row_with_an_error(tiny_models: ModelsConfig) -> None:
    config = tiny_models.encoders["tiny-speech"].model_copy(update={"max_seconds": 1.0})
    extractor = make_extractor(config, tiny_models)
    extractor.load()
    assert "media_oversized" in str(extractor.extract([sound_bytes(1.5)])[0].error)


def test_directory_that_holds_no_whisper_is_refused_by_name(tiny_models: ModelsConfig) -> None:
    config = encoder_config(id="wrong", kind="speech", directory="tiny-text")
    with pytest.raises(EncoderError, match="wrong"):
        make_extractor(config, tiny_models).load()


@given(st.integers(0, 5_000), st.integers(10, 2_000), st.integers(0, 9))
@settings(deadline=None)
def test_pieces_join_to_the_whole_and_fit_the_window(num_samples: int, window: int, seed: int) -> None:
    samples = np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)
    pieces = split_at_pauses(samples, window)
    assert np.array_equal(np.concatenate(pieces), samples)
    assert all(len(piece) <= window for piece in pieces)


def test_cut_is_made_in_the_pause() -> None:
    samples = np.random.default_rng(0).standard_normal(40 * 16_000).astype(np.float32)
    samples[27 * 16_000 : 28 * 16_000] = 0.0
    first, _ = split_at_pauses(samples, 30 * 16_000)
    assert 27.0 <= len(first) / 16_000 <= 28.0
