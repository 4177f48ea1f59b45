from __future__ import annotations

import time

import pytest

from mmrec_lib.text.languages import MIN_CONFIDENCE, detect_languages, known_languages

SENTENCES = {
    "ar": "هذه السترة تبقيك دافئا وجافا أثناء المشي الطويل تحت المطر.",
    "de": "Eine leise Liebesgeschichte über zwei Musiker in einer kleinen Stadt.",
    "el": "Η μπαταρία διαρκεί όλη μέρα και φορτίζει σε λιγότερο από μία ώρα.",
    "en": "I bought it for my daughter and she loves it.",
    "es": "La batería dura todo el día y se carga en menos de una hora.",
    "fa": "داستان عاشقانه آرامی درباره دو نوازنده در شهری کوچک.",
    "fr": "Une histoire d'amour discrète entre deux musiciens dans une petite ville.",
    "he": "הסוללה מחזיקה כל היום ונטענת בפחות משעה.",
    "hi": "मैंने इसे अपनी बेटी के लिए खरीदा और उसे यह बहुत पसंद है।",
    "it": "Questa giacca ti tiene caldo e asciutto durante le lunghe passeggiate.",
    "ja": "バッテリーは一日中持ち、一時間以内に充電できます。",
    "ko": "배터리는 하루 종일 가고 한 시간 안에 충전됩니다.",
    "nl": "De batterij gaat de hele dag mee en laadt op in minder dan een uur.",
    "pl": "Kupiłem to dla mojej córki i ona to uwielbia.",
    "pt": "Uma história de amor tranquila sobre dois músicos em uma cidade pequena.",
    "ru": "Батареи хватает на весь день, а заряжается она меньше чем за час.",
    "th": "ฉันซื้อให้ลูกสาวและเธอชอบมาก",
    "tr": "Küçük bir kasabada iki müzisyen hakkında sessiz bir aşk hikayesi.",
    "uk": "Я купив це для доньки, і вона в захваті.",
    "zh": "一个关于小镇上两位音乐家的安静爱情故事。",
}


def language(text: str | None) -> str | None:
    return detect_languages([text])[0].language


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_told_with_confidence(code: str) -> None:
    (found,) = detect_languages([SENTENCES[code]])
    assert found.language == code
    assert MIN_CONFIDENCE <= found.confidence <= 1.0


@pytest.mark.parametrize(
    "text",
    [None, "", " \n", "😀😀👟", "🇩🇪", "12345", "3.14 / 99 %", "!!!", "\x00\x00", "\u0301" * 100, "\ud83d", "a@b.de"],
)
def test_a_text_without_letters_has_no_language_and_no_confidence(text: str | None) -> None:
    assert detect_languages([text]) == [(None, 0.0)]


@pytest.mark.parametrize("text", ["OK", "XL", "lol", "Nikon D90", "iPhone 15 Pro", "XR-2000 v3", "x" * 2**20])
def test_names_and_codes_are_too_little_to_tell(text: str) -> None:
    (found,) = detect_languages([text])
    assert found.language is None and found.confidence < MIN_CONFIDENCE


def test_an_address_is_no_evidence() -> None:
    assert language("https://the-best-of-all.example/what/is/the/matter/with/you") is None
    assert language("www.example.com/der-die-das " + SENTENCES["fr"]) == "fr"


def test_characters_that_only_one_of_chinese_and_japanese_writes_tell_them_apart() -> None:
    assert [language(text) for text in ("红色跑步鞋", "東京駅", "红色", "円高", "恋物語です")] == [
        "zh",
        "ja",
        "zh",
        "ja",
        "ja",
    ]


def test_a_short_text_in_characters_of_both_is_not_guessed() -> None:
    assert [language(text) for text in ("東京特許許可局", "恋物語", "山水")] == [None, None, None]


def test_both_scripts_of_chinese_are_chinese() -> None:
    assert language("這件夾克讓你在雨中長時間散步時保持溫暖和乾燥。") == "zh"


def test_halves_of_a_pair_do_not_hide_the_words_around_them() -> None:
    assert language("\ud800 " + SENTENCES["de"] + " \udc00\x00") == "de"


def test_a_megabyte_costs_what_a_page_costs() -> None:
    detect_languages(["load the model"])
    start = time.process_time()
    assert language(SENTENCES["en"] * 25_000) == "en"
    assert time.process_time() - start < 0.1


def test_order_is_kept_and_a_text_alone_gives_the_same() -> None:
    texts = [None, *SENTENCES.values(), "12"]
    assert detect_languages(texts) == [detect_languages([text])[0] for text in texts]


def test_every_language_is_known_by_its_two_letters() -> None:
    assert set(SENTENCES) <= known_languages()
    assert all(len(code) == 2 for code in known_languages())
