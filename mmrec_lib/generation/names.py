"""Names of the source, such as titles, as they may stand in a text for people."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmrec_lib.tastes.sentences import safe_name
from mmrec_lib.text.markup import plain_text
from mmrec_lib.text.tokenizer import tokenize

_MAX_WHOLE = 1_000
# They would end the quotation that a name stands in.
_QUOTES = str.maketrans(dict.fromkeys('“”„‟«»‹›「」『』"', "’"))
# Addresses and telephone numbers: a name with one leads people somewhere. A dot before a space (`Vol. 2`), a digit
# (`2.0`) or a single letter (`U.S.A.`) is none of an address.
_LEADS_AWAY = re.compile(
    r"\b(?:https?|ftp|www)\b|\S@\S|\w\.(?:[^\W\d_]{2,}|xn--)|\d(?:[\W_]{0,3}\d){6,}", re.IGNORECASE
)
_JOINERS = re.compile("[\u200c\u200d\ufe0f]")


@dataclass(frozen=True)
class NameRules:
    """Bounds of names.

    Attributes:
        max_characters: Longer ones are cut.
        blocked: Words and phrases that none may hold.
    """

    max_characters: int = 60
    blocked: tuple[str, ...] = ()

    def clean(self, name: str | None) -> str | None:
        """The name in one line, without markup, hidden characters, quotation marks and secrets, cut.

        Returns:
            None where nothing is left, where it holds a blocked word, or where it leads people to an address or a
            telephone number.
        """
        return None if name is None else _clean(name, self)

    def is_allowed(self, text: str) -> bool:
        """Tell if a text holds no blocked word."""
        return not _holds(text, self.blocked)


@lru_cache(maxsize=50_000)
def name_key(name: str) -> str:
    """Key that spellings of one name share: case, compatibility forms, hidden characters and outer spaces aside."""
    return safe_name(unicodedata.normalize("NFKC", name), _MAX_WHOLE).casefold()


@lru_cache(maxsize=50_000)
def _clean(name: str, rules: NameRules) -> str | None:
    whole = safe_name(plain_text(name), _MAX_WHOLE)
    # Letters in circles or of full width lead away as well.
    if _LEADS_AWAY.search(_JOINERS.sub("", unicodedata.normalize("NFKC", whole))) or not rules.is_allowed(whole):
        return None
    told = safe_name(whole.translate(_QUOTES), rules.max_characters).strip(" ’")
    # A single letter of an alphabet names nothing; one character of Chinese may.
    letters = "".join(character for character in told if character.isalnum())
    return told if len(letters) > 1 or (letters and not letters.isascii()) else None


def _holds(text: str, phrases: Sequence[str]) -> bool:
    if not phrases:
        return False
    words = f" {' '.join(tokenize(text))} "
    return any(phrase and f" {phrase} " in words for phrase in (" ".join(tokenize(one)) for one in phrases))
