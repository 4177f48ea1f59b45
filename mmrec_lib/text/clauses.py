"""Texts as words: tokens, clauses and negation, in languages with and without spaces, without a tagger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# Scripts without spaces between words give one token a character; an emoji is one token, a word may hold an apostrophe.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[{_EMOJI}]|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)?")
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_ELISION = re.compile(r"^(?:[cdjlmnst]|qu|un|all|dell|nell|dall|sull)['’]")
_CLAUSE_END = re.compile(r"[.!?;:,\n。！？；：，、…]+")
_NEGATION_REACH = 4

# English, German, French, Spanish, Italian, Portuguese and Dutch, one a line.
_NEGATORS = """
not no never nothing nobody none neither nor cannot without hardly
nicht nichts nie niemals kein keine keinen keinem keiner keines ohne kaum
pas jamais rien aucun aucune sans
nunca nada ningún ninguna sin
non mai niente nessun nessuna senza
não nem
niet geen nooit
"""
_CONTRASTS = """
but however although though yet
aber jedoch obwohl doch
mais cependant pourtant
pero aunque
ma però
mas porém
maar
"""
# Articles and possessives; those that mean something else in another language (the Italian `i`) are left out.
_DETERMINERS = """
the a an my your his her its our their
der die das den dem des ein eine einen einem einer mein meine meinen
le la les un une cet cette mon ma mes
el los las unos unas una mi mis
il lo gli uno mio mia
um uma meu minha
het een
"""
# What turns the meaning of the words after it.
NEGATORS = frozenset(_NEGATORS.split())
CONTRASTS = frozenset(_CONTRASTS.split())
DETERMINERS = frozenset(_DETERMINERS.split())


@dataclass(frozen=True)
class Token:
    """A word of a text.

    Attributes:
        word: Lower case, apostrophes straight.
        written: As it stands in the text.
        is_negated: Whether a negator stands shortly before it in its clause.
    """

    word: str
    written: str
    is_negated: bool = False


def clauses(text: str) -> list[str]:
    """Parts of a text that say one thing: cut at punctuation and before words of contrast; none is empty.

    Example:
        >>> clauses("Great sound, but the battery is weak!")
        ['Great sound', 'but the battery is weak']
    """
    parts: list[str] = []
    for piece in _CLAUSE_END.split(text):
        start = 0
        for match in _TOKEN.finditer(piece):
            if match.group().lower() in CONTRASTS and match.start() > start:
                parts.append(piece[start : match.start()])
                start = match.start()
        parts.append(piece[start:])
    return [part.strip() for part in parts if part.strip()]


def tokens(clause: str) -> list[Token]:
    """Words of a clause, each with whether it is negated.

    The scope of a negation is the next few words of the clause (Das and Chen 2001, Yahoo! for Amazon; Pang, Lee and
    Vaithyanathan 2002, Thumbs up?).
    """
    found: list[Token] = []
    reach = 0
    for match in _TOKEN.finditer(clause):
        written = match.group()
        word = written.lower().replace("’", "'")
        found.append(Token(word, written, reach > 0))
        reach = _NEGATION_REACH if _negates(word) else max(reach - 1, 0)
    return found


def features(text: str) -> list[tuple[str, str | None]]:
    """Features of a text: its words and pairs of neighbours, clause by clause.

    Returns:
        Features in their order; for a negated word beside the feature (`not_good`) the word that it turns (`good`).

    Example:
        >>> features("Not good")
        [('not', None), ('not_good', 'good'), ('not good', None)]
    """
    made: list[tuple[str, str | None]] = []
    for clause in clauses(text):
        found = tokens(clause)
        made += [(f"not_{t.word}", t.word) if t.is_negated else (t.word, None) for t in found]
        made += [(f"{a.word} {b.word}", None) for a, b in pairwise(found)]
    return made


def is_wordlike(word: str) -> bool:
    """True when a token can name a thing: letters, at least two."""
    return _LETTERS.fullmatch(word) is not None


def without_elision(token: Token) -> tuple[str, bool]:
    """The word after an elided article (`l'odeur`: `odeur`), and whether there was one."""
    bare = _ELISION.sub("", token.word)
    return bare, bare != token.word


def is_determiner(word: str) -> bool:
    """True when a word announces a noun."""
    return word in DETERMINERS


def document_counts(documents: Sequence[Sequence[str]]) -> dict[str, int]:
    """In how many documents each word stands."""
    counts: dict[str, int] = {}
    for document in documents:
        for word in set(document):
            counts[word] = counts.get(word, 0) + 1
    return counts


def _negates(word: str) -> bool:
    return word in NEGATORS or word.endswith("n't")
