"""General meaning of words: the English lexicon VADER, which knows negation, emphasis and emoji.

Hutto and Gilbert (2014), VADER: A parsimonious rule-based model for sentiment analysis of social media text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# The authors' threshold between neutral and the others.
NEUTRAL_BELOW = 0.05


def lexicon_scores(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Polarity of each text, from -1 to 1; 0 where no word is known: `[n]`."""
    score = _analyzer().polarity_scores
    return np.array([score(text)["compound"] for text in texts], np.float64)


def is_english(text: str) -> bool:
    """True when the text reads as English, the only language of the lexicon."""
    import py3langid

    language: str = py3langid.classify(text)[0]
    return language == "en"


@functools.cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
