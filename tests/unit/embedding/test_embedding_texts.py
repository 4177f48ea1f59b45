"""Texts before they become contents: equal words have one form, whatever markup they came in."""

from __future__ import annotations

import html
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.embedding.texts import normalise
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder

MODELS = Path("models")


def normal(*texts: str | None) -> list[str | None]:
    found: list[str | None] = normalise(pa.array(texts, pa.string())).to_pylist()
    return found


def test_markup_and_its_clean_twin_have_one_form() -> None:
    clean = "Soft & warm wool jacket in café style"
    twins = (
        "<p>Soft &amp; warm<br/>wool&nbsp;ja&shy;cket</p><div>in caf&eacute; style</div>",
        "Soft &amp;amp; warm wool jacket in cafe&#769; style",
        html.escape("<ul><li>Soft &amp; warm</li> <li>wool jacket in café style</li></ul>"),
        "\ufeff Soft\u200b &\nwarm wool jacket in cafe\u0301 style",
        clean,
    )
    assert set(normal(*twins)) == {clean}


def test_texts_of_markup_alone_are_none_and_comparisons_stay() -> None:
    assert normal("<p>&nbsp;</p>", None, "", "a < b", "I <3 it", "x<y and y>z") == [
        None,
        None,
        None,
        "a < b",
        "I <3 it",
        "x<y and y>z",
    ]


def test_every_space_of_unicode_is_one() -> None:
    spaces = [chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)).startswith("Z")]
    spaces += ["\t", "\n", "\x0b", "\x0c", "\r", "\x85", "  ", " \u2009"]
    assert normal(*(f"{space}a{space}b{space}" for space in spaces)) == ["a b"] * len(spaces)


def test_normal_form_of_a_normal_form_is_itself() -> None:
    texts = ("<b>A</b> &lt; B &amp; C", "&lt;i&gt;D&lt;/i&gt;", "<script>x</script>E <3", "F &amp;lt; G")
    once = normal(*texts)
    assert normal(*once) == once == ["A < B & C", "D", "E <3", "F < G"]


# Shop texts of unlike things, and the markup that a shop's editor puts around any of them.
SENTENCES = (
    ("Men's winter parka, goose down, waterproof.", "Removable hood & four pockets.", "Warm below -10 °C."),
    ("Espresso machine with a steam wand.", "15 bar pump, 1.5 l tank.", "Milk foam in seconds."),
    ("Acoustic guitar for beginners.", "Spruce top, nylon strings.", "Comes with a bag & tuner."),
    ("Cat tree with three platforms.", "Sisal posts to scratch.", "For cats up to 8 kg."),
    ("Running shoes with a light mesh.", "Cushioned sole, reflective.", "For road and track."),
    ("Novel about two sisters in Lisbon.", "A story of loss & courage.", "Hardcover, 320 pages."),
    ("Garden hose, 20 metres.", "Fits all common taps.", "Does not kink."),
    ("Lipstick in a deep red.", "Matte, lasts all day.", "Without parabens."),
)


def as_shop_page(sentences: tuple[str, ...]) -> str:
    items = "".join(
        f'<li class="a-list-item" style="margin:0 0 4px;color:#333"><span data-id="{n}">{html.escape(part)}</span></li>'
        for n, part in enumerate(sentences)
    )
    return (
        '<style type="text/css">.product-description p{font-family:Arial,sans-serif;line-height:1.4}</style>'
        f'<div id="productDescription" class="a-section a-spacing-small"><!-- begin --><ul>{items}</ul>'
        "<p>&nbsp;</p><script>window.dataLayer=window.dataLayer||[];</script></div>"
    )


@pytest.mark.models
def test_markup_changes_no_meaning_and_brings_no_strangers_together() -> None:
    models = ModelsConfig(root=str(MODELS))
    encoder = make_encoder(models.encoder("all-minilm-l6-v2", "text"), models)
    encoder.load()
    clean, marked = [" ".join(parts) for parts in SENTENCES], [as_shop_page(parts) for parts in SENTENCES]

    def vectors(texts: list[str]) -> np.ndarray:
        return encoder.encode(texts).vectors

    def cosine_of_strangers(vectors_ND: np.ndarray) -> float:
        cosines_NN = vectors_ND @ vectors_ND.T
        return float(cosines_NN[~np.eye(len(cosines_NN), dtype=bool)].mean())

    plain, raw, cleaned = vectors(clean), vectors(marked), vectors([text or "" for text in normal(*marked)])
    twins, raw_twins = (plain * cleaned).sum(axis=1), (plain * raw).sum(axis=1)
    strangers = {name: cosine_of_strangers(v) for name, v in (("clean", plain), ("raw", raw), ("cleaned", cleaned))}
    print(f"cosine of twins: {twins.min():.4f} (raw {raw_twins.mean():.3f}), of strangers: {strangers}")
    # What this test would be without: markup as it came.
    assert raw_twins.max() < 0.9 and strangers["raw"] > strangers["clean"] + 0.2
    assert twins.min() > 0.98
    assert abs(strangers["cleaned"] - strangers["clean"]) < 0.02
