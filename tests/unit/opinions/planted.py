"""Reviews whose sentiments, aspects and topics are known because they were planted."""

from __future__ import annotations

import numpy as np

from mmrec_lib.opinions.model import Review

GOOD = ("great", "lovely", "excellent", "superb", "perfect")
BAD = ("awful", "broken", "poor", "horrible", "useless")
PLAIN = ("average", "ordinary", "usual", "common", "middling")
# A topic's things are only spoken of together.
TOPICS = (
    ("battery life", "screen", "charger", "keyboard"),
    ("story", "actor", "ending", "music"),
    ("sleeve", "zip", "collar", "fabric"),
    ("waiter", "soup", "dessert", "kitchen"),
)
_STARS = {"good": (4.0, 5.0), "plain": (3.0,), "bad": (1.0, 2.0)}


def planted_review(rng: np.random.Generator, mood: str, topic: int) -> Review:
    """Two clauses about things of one topic; a fifth of the good and bad words stand negated in the other mood."""
    words = {"good": GOOD, "plain": PLAIN, "bad": BAD}[mood]
    turned = {"good": BAD, "bad": GOOD}.get(mood)
    things = rng.choice(len(TOPICS[topic]), 2, replace=False)
    clauses = []
    for thing in things:
        is_turned = turned is not None and rng.random() < 0.2
        word = str(rng.choice(turned if is_turned and turned else words))
        clauses.append(f"the {TOPICS[topic][thing]} is {'not ' if is_turned else ''}{word}")
    return Review(f"{clauses[0].capitalize()}. And {clauses[1]}!", "en", float(rng.choice(_STARS[mood])))


def planted_reviews(number: int = 300, seed: int = 0) -> list[Review]:
    """Reviews of all moods and topics."""
    rng = np.random.default_rng(seed)
    moods = ("good", "good", "plain", "bad")
    return [planted_review(rng, moods[n % 4], int(rng.integers(len(TOPICS)))) for n in range(number)]
