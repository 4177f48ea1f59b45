"""Written and spoken reviews whose words fit the stars."""

from __future__ import annotations

import io
import subprocess
from typing import Any

import numpy as np
import soundfile
import soxr

from tests.data.behaviour import NUM_DAYS, Event, iso, rating_for
from tests.data.catalogue import Product, pick
from tests.data.people import LANGUAGE_OF, Person
from tests.data.review_words import MOODS, NOUNS, SPOKEN
from tests.data.words import COLOUR_WORDS, STYLES

Record = dict[str, Any]
SPEECH_HZ = 16_000
VOICES = ("en-us", "en-gb", "en-us+f2", "en-gb+f3", "en-us+m3", "en-gb-x-rp", "en-us+f4", "en-gb+m7")


def written_text(rng: np.random.Generator, stars: int, product: Product, language: str) -> str:
    """A review of two to five sentences in one language, in the mood of its stars."""
    mood = MOODS[language]["good" if stars >= 4 else "mixed" if stars == 3 else "bad"]
    # Four stars are good with a grain of salt, two bad with a kind word; then one remark of the mood is enough.
    tempered = stars in (2, 4) and rng.random() < 0.45
    num_remarks = 1 if tempered else int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    chosen = rng.choice(len(mood.remarks), size=num_remarks, replace=False)
    sentences = [pick(rng, mood.openings), *(mood.remarks[int(i)] for i in chosen)]
    if tempered:
        # The first and the last (colour, delivery) might contradict what was said.
        sentences.append(pick(rng, MOODS[language]["mixed"].remarks[1:-1]))
    if rng.random() < 0.6:
        sentences.append(pick(rng, mood.closings))
    words = {
        "noun": NOUNS[language][product.kind],
        "colour": "print" if product.colour == "patterned" else pick(rng, COLOUR_WORDS[product.colour]),
        "style": pick(rng, STYLES[product.style].queries),
    }
    return " ".join(sentences).format(**words)


def make_reviews(
    rng: np.random.Generator,
    people: list[Person],
    products: list[Product],
    liking: np.ndarray,
    events: list[Event],
    *,
    num_reviews: int,
) -> list[Record]:
    """Written reviews by people who bought (or else carted or viewed) the product, in the order of time.

    Args:
        rng: Source of randomness.
        people: Users, in the rows of `liking`.
        products: Products, in its columns.
        liking: Taste, [num_users, num_products].
        events: What they did; `day` is the time.
        num_reviews: How many to write.
    """
    person_of = {person.user_id: row for row, person in enumerate(people)}
    product_of = {product.item_id: column for column, product in enumerate(products)}
    match = np.argsort(np.argsort(liking, axis=1), axis=1) / (len(products) - 1)
    pairs: dict[tuple[str, str], float] = {}
    for step in ("purchase", "cart", "view"):
        pool = [event for event in events if event["event_type"] == step]
        for position in rng.permutation(len(pool)):
            event = pool[position]
            pairs.setdefault((event["user_id"], event["item_id"]), event["day"])
            # A sixth is left to people who never bought, so that low stars are not rare.
            if len(pairs) >= num_reviews * {"purchase": 0.7, "cart": 0.84, "view": 1.0}[step]:
                break
    reviews = []
    for (user_id, item_id), day in pairs.items():
        row, column = person_of[user_id], product_of[item_id]
        product = products[column]
        stars = rating_for(rng, float(match[row, column]), product.quality)
        country_language = LANGUAGE_OF[people[row].country]
        language = country_language if rng.random() < 0.95 else "en"
        review: Record = {
            "user_id": user_id,
            "item_id": item_id,
            "text": written_text(rng, stars, product, language),
            "rating": stars,
            "language": language,
            "day": min(day + float(rng.uniform(0.5, 9)), NUM_DAYS - 0.001 - float(rng.uniform(0, 0.4))),
        }
        reviews.append(review)
    reviews.sort(key=lambda review: review["day"])
    for number, review in enumerate(reviews, start=1):
        review["review_id"] = f"r{number:05d}"
        review["ts"] = iso(review.pop("day"))
    return [{"review_id": review.pop("review_id"), **review} for review in reviews]


def make_spoken(rng: np.random.Generator, people: list[Person], products: list[Product]) -> list[tuple[Record, str]]:
    """Spoken reviews (records without text) with the words that are spoken."""
    speakers = [person for person in people if LANGUAGE_OF[person.country] == "en"]
    spoken = []
    for number, (stars, kind, words) in enumerate(SPOKEN, start=1):
        of_kind = [product for product in products if product.kind == kind]
        record = {
            "review_id": f"rv{number:04d}",
            "user_id": speakers[int(rng.integers(len(speakers)))].user_id,
            "item_id": of_kind[int(rng.integers(len(of_kind)))].item_id,
            "rating": stars,
            "language": "en",
            "audio": f"audio/rv{number:04d}.flac",
            "ts": iso(float(rng.uniform(20, NUM_DAYS - 1))),
        }
        spoken.append((record, words))
    return spoken


def speak(words: str, number: int) -> bytes:
    """The words spoken by espeak-ng, as FLAC, mono, 16 kHz, 16 bit.

    Raises:
        FileNotFoundError: When espeak-ng is not installed.
    """
    command = ["espeak-ng", "-v", VOICES[number % len(VOICES)], "-s", str(138 + 6 * (number % 4)), "--stdout", words]
    wave, rate = soundfile.read(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout))
    sound = soxr.resample(wave, rate, SPEECH_HZ)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(sound, -1, 1), SPEECH_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
