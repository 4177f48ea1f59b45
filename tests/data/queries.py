"""Queries and support answers for a store that has none: good ones with the item they are about, and bad ones."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

SILENT, NOISE, GONE = "query-silent.wav", "query-noise.jpg", "query-gone.jpg"
ANSWERS = (
    ("a-delivery", "How long does delivery take?", "Two to four working days.", "help/delivery"),
    ("a-return", "Can I send an item back?", "Within thirty days, free of charge.", "help/returns"),
    ("a-track", "How do I track my order?", "By the link in the mail that we sent you.", "help/orders"),
    ("a-pay", "Which payment methods do you accept?", "Cards and bank transfer.", "help/payment"),
    ("a-abroad", "Do you ship to other countries?", "To all of the European Union.", "help/delivery"),
    ("a-password", "How do I change my password?", "On the page of your account.", "help/account"),
    ("a-refund", "When do I get my refund?", "Five days after we have the parcel.", "help/returns"),
    ("a-size", "Which size should I choose?", "See the table below each item.", "help/sizes"),
    ("a-wash", "How do I wash wool?", "By hand and cold.", None),
    ("a-gift", "Do you sell gift cards?", "Yes, from ten euros.", "help/gifts"),
)


@dataclass(frozen=True)
class LandedQueries:
    """Queries that were written to a landing folder.

    Attributes:
        about: Query → the item that it is about.
        reasons: Query → the reason for which it has no items.
        refused: Ids of records that go to quarantine.
    """

    about: Mapping[str, str]
    reasons: Mapping[str, str]
    refused: Sequence[str]


def cropped(content: bytes, rng: random.Random, share: float = 0.8, quality: int = 40) -> bytes:
    """A photo of an image: a part of it at a random place, smaller and compressed again."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    width, height = round(image.width * share), round(image.height * share)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    part = image.crop((left, top, left + width, top + height))
    part = part.resize((max(1, round(width * 0.7)), max(1, round(height * 0.7))))
    buffer = io.BytesIO()
    part.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def noise(seed: int = 0) -> bytes:
    """An image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write_queries(
    landing: Path, items: Mapping[str, Mapping[str, Any]], *, user_id: str, spoken: str | None = None
) -> LandedQueries:
    """Add queries, their media and support answers to a landing folder.

    Args:
        landing: The folder.
        items: Items with a title and an image by id; the first two are asked for.
        user_id: A known user, who asks one of the queries.
        spoken: Path of a recording in the folder, which becomes a query by voice; none where None.
    """
    rng = random.Random(0)
    (first, one), (second, other) = list(items.items())[:2]
    (landing / "images" / "query-photo.jpg").write_bytes(cropped((landing / one["image"]).read_bytes(), rng, 0.95, 80))
    (landing / "images" / NOISE).write_bytes(noise())
    (landing / "audio").mkdir(exist_ok=True)
    soundfile.write(landing / "audio" / SILENT, np.zeros(32_000, np.float32), 16_000)
    words = other["title"].split()
    queries: list[dict[str, Any]] = [
        {"query_id": "q-title", "text": other["title"]},
        {"query_id": "q-turned", "text": " ".join(reversed(words)), "k": 3},
        {"query_id": "q-user", "text": other["title"], "user_id": user_id},
        {"query_id": "q-stranger", "text": other["title"], "user_id": "nobody-we-know"},
        {"query_id": "q-photo", "image": "images/query-photo.jpg"},
        {"query_id": "q-return", "text": "I want to send my parcel back"},
        {"query_id": "q-huge", "text": f"{other['title']} " + " ".join(f"w{n}" for n in range(3_000))},
        {"query_id": "q-marks", "text": "?!… ***"},
        {"query_id": "q-script", "text": "明日の天気予報"},
        {"query_id": "q-noise", "image": f"images/{NOISE}"},
        {"query_id": "q-gone", "image": f"images/{GONE}"},
        {"query_id": "q-silent", "audio": f"audio/{SILENT}"},
        {"query_id": "q-empty", "text": "   "},
        {"query_id": "q-many", "text": other["title"], "k": 1_000_000},
        {"query_id": "q-two", "image": [f"images/{NOISE}", "images/query-photo.jpg"]},
    ]
    about = dict.fromkeys(("q-title", "q-turned", "q-user", "q-stranger", "q-huge"), second) | {"q-photo": first}
    if spoken is not None:
        shutil.copy(landing / spoken, landing / "audio" / "query-spoken.flac")
        queries.append({"query_id": "q-spoken", "audio": "audio/query-spoken.flac"})
    answers = [
        {"answer_id": name, "question": question, "answer": answer, "source": source}
        for name, question, answer, source in ANSWERS
    ]
    for name, records in (("queries", queries), ("answers", answers)):
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        (landing / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return LandedQueries(
        about=about,
        reasons={
            "q-marks": "no_words",
            "q-script": "no_match",
            "q-noise": "no_match",
            "q-gone": "media_missing",
            "q-silent": "silent",
        },
        refused=("q-empty", "q-many", "q-two"),
    )
