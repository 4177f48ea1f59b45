from __future__ import annotations

import re

import numpy as np
import pytest

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import ENCODE_REASONS, NOT_FINITE, TEXT_EMPTY, TEXT_MISSING, medium_missing, reason_of
from mmrec_lib.encoders.registry import make_encoder, make_extractor
from mmrec_lib.encoders.spec import EncoderInput
from mmrec_lib.ingest.records.reasons import Reason
from mmrec_lib.media.errors import MEDIA_REASONS, MediaError
from tests.conftest import PROJECT
from tests.unit.encoders.tiny_models import image_bytes

BAD_MEDIA: tuple[EncoderInput, ...] = (None, b"", b"text", b"\xff\xd8\xff", b"RIFF\0\0\0\0WAVE", "a text")
REASONS_OF_BAD_MEDIA = ["media_missing", "media_empty", "media_wrong_type"]


def test_errors_of_media_and_texts_begin_with_a_reason_of_the_list() -> None:
    errors = [NOT_FINITE, TEXT_EMPTY, TEXT_MISSING, *(medium_missing(kind) for kind in ("image", "sound", "video"))]
    assert [reason_of(error) for error in errors] == [
        "not_finite",
        "text_empty",
        "text_missing",
        *["media_missing"] * 3,
    ]
    for reason in MEDIA_REASONS:
        assert reason_of(str(MediaError(reason, "why"))) == reason


@pytest.mark.parametrize(
    "error", ["", "the text is empty", "media_empty", "media_empty: ", "Media_empty: why", ": why"]
)
def test_an_error_without_reason_or_detail_is_none(error: str) -> None:
    with pytest.raises(ValueError, match="must begin with one of media_empty"):
        reason_of(error)


def test_every_reason_of_media_is_one_of_quarantine_too() -> None:
    assert set(MEDIA_REASONS) <= set(Reason)


def test_images_say_why_with_a_reason(tiny_models: ModelsConfig) -> None:
    encoder = make_encoder(tiny_models.encoders["tiny-image"], tiny_models)
    encoder.load()
    reasons = [reason_of(str(error)) for error in encoder.encode(BAD_MEDIA).errors]
    assert reasons == [*REASONS_OF_BAD_MEDIA, "media_truncated", "media_wrong_type", "media_missing"]


def test_sounds_say_why_with_a_reason(tiny_models: ModelsConfig) -> None:
    extractor = make_extractor(tiny_models.encoders["tiny-speech"], tiny_models)
    extractor.load()
    reasons = [reason_of(str(words.error)) for words in extractor.extract(BAD_MEDIA)]
    assert reasons == [*REASONS_OF_BAD_MEDIA, "media_wrong_type", "media_truncated", "media_missing"]


def test_texts_say_why_with_a_reason(tiny_models: ModelsConfig) -> None:
    encoder = make_encoder(tiny_models.encoders["tiny-text"], tiny_models)
    encoder.load()
    errors = encoder.encode([None, b"bytes", "", " \n\t"]).errors
    assert [reason_of(str(error)) for error in errors] == ["text_missing"] * 2 + ["text_empty"] * 2


@pytest.mark.parametrize(("name", "content"), [("tiny-text", "red shoe"), ("tiny-image", image_bytes(0))])
def test_values_that_are_not_finite_are_an_error_with_a_reason(
    tiny_models: ModelsConfig, name: str, content: EncoderInput
) -> None:
    encoder = make_encoder(tiny_models.encoders[name], tiny_models)
    encoder.load()
    encoder._run = lambda *arrays: np.full((len(arrays[0]), 16), np.nan, np.float32)  # type: ignore[attr-defined]
    result = encoder.encode([content, None])
    assert reason_of(str(result.errors[0])) == "not_finite"
    assert not result.vectors.any()


@pytest.mark.parametrize("table", ["content_embedding", "media_text"])
def test_tables_take_the_listed_reasons_and_no_other(table: str) -> None:
    (check,) = (check for check in CONTRACTS[table].checks if check.name == "error_reason")
    assert re.findall(r"'(\w+)'", check.condition) == list(ENCODE_REASONS)


def test_the_docs_tell_every_reason() -> None:
    section = (
        (PROJECT / "docs/operations.md").read_text(encoding="utf-8").split("### Reasons of errors")[1].split("\n## ")[0]
    )
    assert set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)) == set(ENCODE_REASONS)
