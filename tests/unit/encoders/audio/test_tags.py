from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.encoders.audio.features import Floats
from mmrec_lib.encoders.audio.tags import SoundTagger
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import encoder_spec, make_extractor
from mmrec_lib.encoders.spec import Extractor
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import sound_bytes
from tests.unit.encoders.tiny_sound import SOUNDS, make_ast, make_clap, make_yamnet, tone, wave_bytes


class BellWhereItIsLoud:
    """Hears windows of a second: a bell where it is loud, rain where it is quieter, silence always."""

    sample_rate_hz = 16_000
    window_samples = hop_samples = 16_000
    num_windows = 2
    has_spread = False

    def __init__(self) -> None:
        self.names = list(SOUNDS)

    def vectors(self, windows: list[Floats]) -> Floats:
        raise AssertionError("tags need no vectors")

    def probabilities(self, windows: list[Floats]) -> Floats:
        peaks = [float(np.abs(window).max()) for window in windows]
        return np.array([[peak, 0.8 * (peak < 0.6), 1.0] for peak in peaks], np.float32)


def tagger(tmp_path: Path, **settings: object) -> SoundTagger:
    """A tagger that hears as told, without a model of its own."""
    make_yamnet(tmp_path / "model")
    config = encoder_config(id="tags", kind="tags", directory="model", **settings)
    models = ModelsConfig(root=str(tmp_path))
    made = SoundTagger(encoder_spec(config, models), config, tmp_path / "model", models)
    made._model = BellWhereItIsLoud()
    return made


def loudness(*seconds: float) -> bytes:
    return wave_bytes(np.concatenate([tone(1.0, loudness=level) for level in seconds]))


def test_tags_are_ordered_by_how_much_they_fill_and_tell_where_and_how_sure(tmp_path: Path) -> None:
    (words,) = tagger(tmp_path).extract([loudness(0.9, 0.1, 0.7, 0.9, 0.5)])
    assert words.text == "Bell, Rain" and words.error is None
    bell, rain = words.spans
    assert (bell.start_seconds, bell.end_seconds, rain.start_seconds, rain.end_seconds) == (2.0, 5.0, 1.0, 2.0)
    assert bell.confidence == pytest.approx(0.7, abs=1e-3) and rain.confidence == pytest.approx(0.8, abs=1e-3)
    assert words.confidence == pytest.approx(0.75, abs=1e-3)


def test_threshold_and_number_of_tags_are_kept(tmp_path: Path) -> None:
    sound = loudness(0.9, 0.5)
    assert tagger(tmp_path, max_tags=1).extract([sound])[0].text == "Bell"
    assert tagger(tmp_path, min_tag_confidence=0.95).extract([sound])[0].text == ""


def test_silence_has_no_tags_and_is_no_error(tmp_path: Path) -> None:
    (words,) = tagger(tmp_path).extract([loudness(0.0, 0.0)])
    assert (words.text, words.error, words.spans, words.confidence) == ("", None, (), None)


@pytest.fixture(scope="module")
def ast_tagger(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    root = tmp_path_factory.mktemp("ast")
    make_ast(root / "ast", problem_type="single_label_classification")
    models = ModelsConfig.model_validate(
        {"root": str(root), "encoders": {"ast": {"kind": "tags", "min_tag_confidence": 0.05}}}
    )
    made = make_extractor(models.encoders["ast"], models)
    made.load()
    return made


def test_names_come_from_the_directory(ast_tagger: Extractor) -> None:
    (words,) = ast_tagger.extract([sound_bytes(1.5)])
    assert sorted(span.text for span in words.spans) == ["Bell", "Rain"]
    # Sounds that exclude each other share one probability with the one that is not named.
    assert sum(span.confidence or 0.0 for span in words.spans) < 1.0
    assert ast_tagger.spec.modality == "tags" and ast_tagger.spec.dim is None


def test_what_cannot_be_decoded_is_a_row_with_an_error(ast_tagger: Extractor) -> None:
    result = ast_tagger.extract([b"RIFF", sound_bytes(0.5), None])
    assert [words.error is None for words in result] == [False, True, False]
    assert [words.text is None for words in result] == [True, False, True]


def test_model_without_names_is_refused(tmp_path: Path) -> None:
    make_clap(tmp_path / "clap")
    models = ModelsConfig.model_validate({"root": str(tmp_path), "encoders": {"clap": {"kind": "tags"}}})
    with pytest.raises(EncoderError, match="no names"):
        make_extractor(models.encoders["clap"], models).load()
