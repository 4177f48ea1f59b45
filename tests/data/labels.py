"""Images of product labels whose words are known: drawn in several fonts, rotated, blurred, with noise."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSansMono.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
)
PAPERS = (
    ("white", "black"),
    ("#c02020", "white"),
    ("#f4e8c8", "#403020"),
    ("#203060", "#f0f0f0"),
    ("#d8e8d8", "#104010"),
)
WORDS = (
    "organic",
    "cotton",
    "shirt",
    "summer",
    "fresh",
    "roasted",
    "coffee",
    "beans",
    "running",
    "shoes",
    "leather",
    "wallet",
    "green",
    "tea",
    "winter",
    "jacket",
    "waterproof",
    "camping",
    "tent",
    "steel",
    "bottle",
    "wooden",
    "chair",
    "kitchen",
    "knife",
    "garden",
    "gloves",
    "natural",
    "honey",
    "vanilla",
    "candle",
    "travel",
    "adapter",
    "desk",
    "lamp",
    "wireless",
    "headphones",
    "yoga",
    "mat",
    "silver",
    "necklace",
    "children",
    "puzzle",
    "classic",
    "novel",
    "limited",
    "edition",
    "made",
    "in",
    "Portugal",
    "size",
    "medium",
    "large",
    "machine",
    "wash",
    "cold",
    "net",
    "weight",
    "250",
    "500",
    "best",
    "before",
    "2027",
    "price",
    "19",
    "49",
    "sale",
    "premium",
    "quality",
    "guaranteed",
)

MOST_DEGREES = 8.0


def draw_label(seed: int) -> tuple[bytes, list[str]]:
    """A label of three or four lines as the bytes of a JPEG, and its words in their order."""
    random = np.random.default_rng(seed)
    paper, ink = PAPERS[random.integers(len(PAPERS))]
    lines = [list(random.choice(WORDS, random.integers(1, 4))) for _ in range(random.integers(3, 5))]
    lines[0] = [word.upper() for word in lines[0]]
    canvas = Image.new("RGB", (720, 90 * len(lines) + 60), paper)
    pen = ImageDraw.Draw(canvas)
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = str(folder / FONTS[random.integers(len(FONTS))])
    for number, words in enumerate(lines):
        size = int(random.integers(28, 44))
        pen.text((50, 40 + 90 * number), " ".join(words), fill=ink, font=ImageFont.truetype(font, size))
    degrees = float(random.uniform(-MOST_DEGREES, MOST_DEGREES))
    turned = canvas.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)
    blurred = turned.filter(ImageFilter.GaussianBlur(float(random.uniform(0.0, 1.5))))
    noise = random.normal(0.0, float(random.uniform(0.0, 12.0)), (*blurred.size[::-1], 3))
    noisy = Image.fromarray((np.asarray(blurred) + noise).clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    noisy.save(file, "JPEG", quality=int(random.integers(60, 95)))
    return file.getvalue(), [str(word) for words in lines for word in words]


def words_read(text: str, words: list[str]) -> int:
    """How many of the words are in a text, each as often as it was drawn; case does not count."""
    left = text.lower().split()
    count = 0
    for word in words:
        if word.lower() in left:
            left.remove(word.lower())
            count += 1
    return count
