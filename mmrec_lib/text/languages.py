"""Language of a text.

Lui and Baldwin, langid.py: An Off-the-shelf Language Identification Tool (2012): naive Bayes over byte n-grams that
tell languages apart in every domain; py3langid brings the model, as numpy arrays.

The confidence is the model's probability, its temperature the square root of the text's bytes. `MIN_CONFIDENCE` was
chosen on fragments of 1 to 12 words: of 2,300 fragments of sentences in 31 languages 75 % are told at .6, 99.4 % of
them rightly (97 % of single words); of 11,000 fragments of English film plots 52 %, all but one rightly. At .5 the
shares of wrong ones are .9 % and .1 %, and 2 to 4 % more are told.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmrec_lib.text.well_formed import well_formed

MIN_CONFIDENCE = 0.6
# What comes after does not change the language, and a megabyte costs no more than a page.
READ_CHARACTERS = 2000

# Varieties that the model knows apart and that one encoder serves; the others it knows by three letters have no code
# in ISO 639-1, and short texts of their large relatives would go to them.
_VARIETY_OF = {
    "ary": "ar",
    "arz": "ar",
    "grc": "el",
    "hbo": "he",
    "nn": "no",
    "pcm": "en",
    "uzs": "uz",
    "wuu": "zh",
    "yue": "zh",
}
_NO_LANGUAGE = "zxx"
_ADDRESS = re.compile(r"\S+://\S+|\bwww\.\S+|\S+@\S+\.\S+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")
# Japanese without a syllable of kana is rare beyond names and headlines.
_HAN_OF_A_SENTENCE = 16


class Detection(NamedTuple):
    """The language of a text.

    Attributes:
        language: ISO 639-1 code, or None when it cannot be told.
        confidence: From 0 to 1, how sure the model is of the likeliest language, whether or not that is enough.
    """

    language: str | None
    confidence: float


def detect_languages(texts: Sequence[str | None]) -> list[Detection]:
    """The language of each text: what a text is in, not whom it is for.

    None where a text is missing, has no letters (emoji, numbers, addresses) or is too short to tell, as most names are.
    Chinese in both scripts, Cantonese and Wu are `zh`. Chinese and Japanese share characters: a short text of these
    alone is told only by one that just one of the two writes.

    Args:
        texts: Texts of any length; the first `READ_CHARACTERS` characters count.

    Returns:
        One detection a text, in their order.
    """
    return [_detect(text) for text in texts]


def known_languages() -> frozenset[str]:
    """ISO 639-1 codes that `detect_languages` can give."""
    return frozenset(_VARIETY_OF.get(label, label) for label in _identifier().nb_classes) - {_NO_LANGUAGE}


def _detect(text: str | None) -> Detection:
    words = _ADDRESS.sub(" ", well_formed((text or "")[:READ_CHARACTERS]))
    letters = [character for character in words if character.isalpha()]
    if not letters:
        return Detection(None, 0.0)
    probabilities: dict[str, float] = {}
    for label, probability in _identifier().rank(words):
        language = _VARIETY_OF.get(label, label)
        probabilities[language] = probabilities.get(language, 0.0) + probability
    best = max(probabilities, key=lambda language: probabilities[language])
    confidence = min(1.0, probabilities[best])
    if best in ("zh", "ja"):
        return Detection(_east_asian(letters, best, confidence), confidence)
    return Detection(best if confidence >= MIN_CONFIDENCE and best != _NO_LANGUAGE else None, confidence)


def _east_asian(letters: list[str], best: str, confidence: float) -> str | None:
    """Chinese or Japanese, by what only one of the two writes; national character sets say which that is."""
    if any(_KANA.match(letter) for letter in letters):
        return "ja"
    han = [letter for letter in letters if _HAN.match(letter)]
    if not all(_can_write("shift_jis", letter) for letter in han):
        return "zh"
    if not all(_can_write("gb2312", letter) or _can_write("big5", letter) for letter in han):
        return "ja"
    return best if len(han) >= _HAN_OF_A_SENTENCE and confidence >= MIN_CONFIDENCE else None


def _can_write(character_set: str, letter: str) -> bool:
    try:
        letter.encode(character_set)
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    kept = [label for label in identifier.labels if len(label) == 2 or label in _VARIETY_OF or label == _NO_LANGUAGE]
    identifier.set_languages(kept)
    return identifier
