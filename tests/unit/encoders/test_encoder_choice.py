from __future__ import annotations

import pytest
from pydantic import ValidationError

from mmrec_lib.encoders.choice import EncoderChoice

CHOICE = EncoderChoice.model_validate({"default": "general", "de": "german", "ja": "japanese", "en": "general"})


def test_a_name_alone_serves_every_language() -> None:
    choice = EncoderChoice.model_validate("general")
    assert choice.encoders == ("general",) and not choice.languages
    assert choice.of("de") == choice.of(None) == "general"


def test_a_language_goes_to_its_encoder_and_the_others_to_the_default() -> None:
    assert [CHOICE.of(code) for code in ("de", "ja", "en", "fr", None)] == [
        "german",
        "japanese",
        "general",
        "general",
        "general",
    ]
    assert CHOICE.encoders == ("general", "german", "japanese")


def test_a_language_that_the_default_serves_needs_no_detection() -> None:
    assert not EncoderChoice.model_validate({"default": "general", "en": "general"}).languages


def test_what_is_printed_can_be_read_again() -> None:
    assert EncoderChoice.model_validate(CHOICE.model_dump()) == CHOICE


@pytest.mark.parametrize(
    ("given", "message"),
    [({"de": "german"}, "default"), ({"default": "a", "german": "b"}, "german"), ({"default": "a", "DE": "b"}, "DE")],
)
def test_a_choice_that_leaves_a_text_without_encoder_or_can_never_match_is_refused(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        EncoderChoice.model_validate(given)
