from __future__ import annotations

import time

import pytest

from mmrec_lib.text.tokenizer import tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't buy the Café-Latte!", ["don't", "buy", "the", "café", "latte"]),
        ("ＡＢＣ ﬁne STRASSE straße", ["abc", "fine", "strasse", "strasse"]),
        ("snake_case 3.5mm (1997)", ["snake", "case", "3", "5mm", "1997"]),
        ("赤い靴", ["赤い", "い靴"]),
        ("红色T恤 10件", ["红色", "t", "恤", "10", "件"]),
        ("빨간 운동화를", ["빨간", "운동", "동화", "화를"]),
        ("สีแดง", ["สีแ", "แด", "ดง"]),
        ("लाल दौड़ने", ["लाल", "दौड़ने"]),
        ("נעלי ריצה", ["נעלי", "ריצה"]),
        ("حذاء رياضي", ["حذاء", "رياضي"]),
        ("我", ["我"]),
        ("😀 👟 !!! \x00 \u200b", []),
        ("", []),
    ],
)
def test_words_of_every_kind_of_script(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


def test_composed_and_decomposed_letters_are_one_word() -> None:
    assert tokenize("cafe\u0301") == tokenize("caf\u00e9") == ["café"]


@pytest.mark.parametrize("text", ["x" * 2**18, "\u0301" * 2**18, "z" + "\u0301" * 2**18, "日" * 2**18, "a'" * 2**17])
def test_a_text_without_an_end_is_cut_in_linear_time(text: str) -> None:
    start = time.process_time()
    words = tokenize(text)
    assert time.process_time() - start < 2.0
    assert max(map(len, words), default=0) <= 40
