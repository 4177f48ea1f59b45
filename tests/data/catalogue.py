"""Products of the sample store: images from photos, planted latent attributes, written texts and prices."""

from __future__ import annotations

import colorsys
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tests.data.words import CLASSES, COLOUR_WORDS, MODEL_NAMES, STYLES, TIER_SENTENCES

SHORT_SIDE_PX = 224
JPEG_QUALITY = 76
MARKETS = ("GB", "US", "IE", "DE", "FR", "ES", "IT")


@dataclass
class Product:
    """A product with what is planted in it.

    Attributes:
        item_id: Its id.
        kind: Class of clothing, a key of `CLASSES`.
        style: Planted style, a key of `STYLES`.
        tier: Price tier, 1 (cheap) to 3 (dear).
        colour: Dominant colour measured in the image, a key of `COLOUR_WORDS`.
        quality: How well people like it beyond taste, about N(0, 1).
        popularity: Weight of being noticed, before taste.
        sold_from: First day on sale, in days after the start of the data.
        sold_until: Day on which it went out of stock; infinite when it did not.
        record: The landing record.
    """

    item_id: str
    kind: str
    style: str
    tier: int
    colour: str
    quality: float
    popularity: float = 1.0
    sold_from: float = -1.0
    sold_until: float = float("inf")
    record: dict[str, Any] = field(default_factory=dict)


def shrink(photo: Path) -> Image.Image:
    """The photo with its short side scaled to `SHORT_SIDE_PX`, not cropped."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    scale = SHORT_SIDE_PX / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def jpeg_bytes(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """The image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def png_bytes(image: Image.Image) -> bytes:
    """The image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def second_views(image: Image.Image) -> list[Image.Image]:
    """Further views of one product: a tighter crop and a mirrored, brighter one."""
    width, height = image.size
    close_up = image.crop((width // 6, height // 6, width - width // 6, height - height // 6))
    mirrored = ImageOps.autocontrast(ImageOps.mirror(image), cutoff=1)
    return [close_up, mirrored]


def hue_shifted(image: Image.Image, degrees: int) -> Image.Image:
    """The image with all hues turned, so that a derived image has its own colours and bytes."""
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(level + degrees * 256 // 360) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def colour_of_pixel(red: int, green: int, blue: int) -> str:
    """The colour word of one pixel, by hue, saturation and value."""
    turn, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    hue = 360 * turn
    warm_and_pale = hue < 48 and saturation < 0.42
    rules = (
        (value < 0.22, "black"),
        (saturation < 0.14, "white" if value > 0.74 else "grey" if value > 0.32 else "black"),
        (hue < 12 or hue >= 345, "pink" if saturation < 0.45 and value > 0.6 else "red"),
        (warm_and_pale, "beige" if value > 0.5 else "brown"),
        (hue < 40, "orange" if value > 0.7 and saturation > 0.65 else "brown"),
        (hue < 68, "yellow" if value > 0.5 else "green"),
        (hue < 165, "green"),
        (hue < 260, "navy" if value < 0.42 else "blue"),
        (hue < 300, "purple"),
        (True, "pink"),
    )
    return next(word for holds, word in rules if holds)


def dominant_colour(image: Image.Image) -> str:
    """The most frequent colour word in the centre of the image, or "patterned" when none dominates."""
    width, height = image.size
    centre = image.crop((int(width * 0.3), int(height * 0.3), int(width * 0.7), int(height * 0.7))).resize((32, 32))
    pixels = np.asarray(centre).reshape(-1, 3)
    counts = Counter(colour_of_pixel(*(int(level) for level in pixel)) for pixel in pixels)
    name, share = counts.most_common(1)[0]
    return name if share >= 0.36 * len(pixels) else "patterned"


def pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def write_texts(rng: np.random.Generator, product: Product) -> tuple[str, str]:
    """Title and a description of two to four sentences that show class, colour, style and tier."""
    kind, style = CLASSES[product.kind], STYLES[product.style]
    noun, material = pick(rng, kind.nouns), pick(rng, kind.materials)
    colour, adjective = pick(rng, COLOUR_WORDS[product.colour]), pick(rng, style.adjectives)
    titles = (
        f"{adjective} {colour} {noun}",
        f"{colour} {material} {noun}, {adjective}",
        f"{adjective} {material} {noun} in {colour}",
        f"{pick(rng, MODEL_NAMES)}: {adjective} {noun} in {colour}",
    )
    title = pick(rng, titles)
    if product.colour == "patterned":
        title = title.replace(f" in {colour}", f", {colour}")
    title = title[0].upper() + title[1:]
    grammar = {
        "noun": noun,
        "it": "they" if kind.plural else "it",
        "obj": "them" if kind.plural else "it",
        "goes": "go" if kind.plural else "goes",
        "moves": "move" if kind.plural else "moves",
        "keeps": "keep" if kind.plural else "keeps",
        "sets": "set" if kind.plural else "sets",
        "brings": "bring" if kind.plural else "brings",
    }
    opening = pick(rng, style.sentences).format(**grammar)
    these, made = ("These", "are made") if kind.plural else ("This", "is made")
    fabric = pick(
        rng,
        (
            f"{these} {adjective} {noun} {made} of {colour} {material} for {pick(rng, style.occasions)}.",
            f"Made of {material} in {colour}, just right for {pick(rng, style.occasions)}.",
            f"Our {colour} {noun} in {material} {'were' if kind.plural else 'was'} designed with "
            f"{pick(rng, style.occasions)} in mind.",
        ),
    )
    sentences = [opening, fabric, pick(rng, kind.cuts)]
    if rng.random() < 0.55:
        sentences.append(pick(rng, TIER_SENTENCES[product.tier]))
    return title, " ".join(sentences)


def price_of(rng: np.random.Generator, product: Product) -> float:
    """A price with a shop's ending, in euros."""
    factor = {1: 0.55, 2: 1.0, 3: 1.9}[product.tier]
    return max(4.0, round(CLASSES[product.kind].base_price * factor * float(rng.uniform(0.85, 1.18)))) - 0.05


def make_products(rng: np.random.Generator, photos: dict[str, list[Image.Image]]) -> list[tuple[Product, Image.Image]]:
    """Products for photos of each class, in shuffled order with ids p001, p002 and so on.

    Args:
        rng: Source of randomness.
        photos: Images by class.
    """
    drawn: list[tuple[Product, Image.Image]] = []
    for kind, images in photos.items():
        # Balanced within a class, so that every pair of class and style has products.
        styles = [list(STYLES)[i % len(STYLES)] for i in range(len(images))]
        rng.shuffle(styles)
        for image, style in zip(images, styles, strict=True):
            tier = int(np.clip(np.rint(2 + STYLES[style].tier_shift + rng.normal(0, 0.75)), 1, 3))
            product = Product("", kind, style, tier, dominant_colour(image), float(rng.normal()))
            drawn.append((product, image))
    drawn = [drawn[i] for i in rng.permutation(len(drawn))]
    ranks = rng.permutation(len(drawn))
    for position, (product, _) in enumerate(drawn):
        product.item_id = f"p{position + 1:03d}"
        product.popularity = float((ranks[position] + 10.0) ** -0.6)
        title, description = write_texts(rng, product)
        day = int(rng.integers(1, 29))
        product.record = {
            "item_id": product.item_id,
            "title": title,
            "description": description,
            "categories": [CLASSES[product.kind].label],
            "price": price_of(rng, product),
            "images": [f"images/{product.item_id}.jpg"],
            "updated_at": f"2025-06-{day:02d}T08:00:00Z",
        }
    return drawn
