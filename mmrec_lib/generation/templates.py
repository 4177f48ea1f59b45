"""Sentences of facts in several languages: each tells one fact, names stand in quotation marks, none negates."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class FactKind(StrEnum):
    """Kinds of facts; reasons tell them in this order where nothing else decides."""

    PATH = "path"
    HISTORY = "history"
    BRAND = "brand"
    CATEGORY = "category"
    SEGMENT = "segment"
    PRICE_USUAL = "price_usual"
    PRICE_BELOW = "price_below"
    ASPECT = "aspect"
    RATING = "rating"
    ITEM_CATEGORY = "item_category"
    ITEM_BRAND = "item_brand"
    SHOWN = "shown"
    WRITTEN_ON = "written_on"


NUMBER_SLOTS = frozenset({"price", "low", "high", "num", "rating"})
"""Slots of templates that are numbers; all others are names, and stand in quotation marks."""


class Language(NamedTuple):
    """A language that texts are written in.

    Attributes:
        sentences: Wordings of each kind of fact; slots are names and numbers of the fact.
        neutral: Words that claim nothing, lower case; a sentence of a language model may have them.
        decimal: Decimal sign.
        gap: What stands between two sentences.
        is_spaced: True where words are parted by spaces.
    """

    sentences: dict[FactKind, tuple[str, ...]]
    neutral: frozenset[str]
    decimal: str
    gap: str = " "
    is_spaced: bool = True


_ENGLISH = {
    FactKind.PATH: ("Shares “{node}” with “{title}”.", "“{title}” and this one share “{node}”."),
    FactKind.HISTORY: ("Because you turned to “{title}”.", "You turned to “{title}”, and this goes with it."),
    FactKind.BRAND: ("By “{brand}”, which you often choose.", "You often choose things by “{brand}”."),
    FactKind.CATEGORY: ("You often choose “{category}”.", "From “{category}”, which you often choose."),
    FactKind.SEGMENT: ("For people who like “{segment}”.", "Something for friends of “{segment}”."),
    FactKind.PRICE_USUAL: (
        "Its price of {price} lies in your usual range of {low} to {high}.",
        "At {price} it is in your usual range, from {low} to {high}.",
    ),
    FactKind.PRICE_BELOW: (
        "Its price of {price} lies below your usual range, which begins at {low}.",
        "At {price} it costs less than your usual range, which begins at {low}.",
    ),
    FactKind.ASPECT: ("{num} reviews praise “{aspect}”.", "Praised in {num} reviews: “{aspect}”."),
    FactKind.RATING: ("Rated {rating} on average in {num} reviews.", "{num} reviews rate it {rating} on average."),
    FactKind.ITEM_CATEGORY: ("From “{category}”.", "Something from “{category}”."),
    FactKind.ITEM_BRAND: ("By “{brand}”.",),
    FactKind.SHOWN: ("Its image shows “{labels}”.",),
    FactKind.WRITTEN_ON: ("On its image is written “{words}”.",),
}
_GERMAN = {
    FactKind.PATH: ("Teilt „{node}“ mit „{title}“.", "„{title}“ und dieses hier haben „{node}“ gemeinsam."),
    FactKind.HISTORY: (
        "Weil Sie sich mit „{title}“ befasst haben.",
        "Sie haben sich mit „{title}“ befasst, und das passt dazu.",
    ),
    FactKind.BRAND: ("Von „{brand}“, das Sie oft wählen.", "Sie wählen oft etwas von „{brand}“."),
    FactKind.CATEGORY: ("Sie wählen oft „{category}“.", "Aus „{category}“, das Sie oft wählen."),
    FactKind.SEGMENT: ("Für Menschen, die „{segment}“ mögen.", "Etwas für Freunde von „{segment}“."),
    FactKind.PRICE_USUAL: (
        "Der Preis von {price} liegt in Ihrem üblichen Rahmen von {low} bis {high}.",
        "Mit {price} liegt es in Ihrem üblichen Rahmen, von {low} bis {high}.",
    ),
    FactKind.PRICE_BELOW: (
        "Der Preis von {price} liegt unter Ihrem üblichen Rahmen, der bei {low} beginnt.",
        "Mit {price} kostet es weniger als Ihr üblicher Rahmen, der bei {low} beginnt.",
    ),
    FactKind.ASPECT: ("{num} Bewertungen loben „{aspect}“.", "Gelobt in {num} Bewertungen: „{aspect}“."),
    FactKind.RATING: (
        "Im Mittel mit {rating} bewertet, in {num} Bewertungen.",
        "{num} Bewertungen geben im Mittel {rating}.",
    ),
    FactKind.ITEM_CATEGORY: ("Aus „{category}“.", "Etwas aus „{category}“."),
    FactKind.ITEM_BRAND: ("Von „{brand}“.",),
    FactKind.SHOWN: ("Das Bild zeigt „{labels}“.",),
    FactKind.WRITTEN_ON: ("Auf dem Bild steht „{words}“.",),
}
_FRENCH = {
    FactKind.PATH: ("Partage « {node} » avec « {title} ».", "« {title} » et cet article partagent « {node} »."),
    FactKind.HISTORY: ("D’après votre intérêt pour « {title} ».", "Va bien avec « {title} », que vous connaissez."),
    FactKind.BRAND: ("De « {brand} », que vous choisissez souvent.", "Vous choisissez souvent « {brand} »."),
    FactKind.CATEGORY: ("Vous choisissez souvent « {category} ».", "De « {category} », que vous choisissez souvent."),
    FactKind.SEGMENT: ("Pour celles et ceux qui aiment « {segment} ».", "Pour les amis de « {segment} »."),
    FactKind.PRICE_USUAL: (
        "Son prix de {price} est dans votre fourchette habituelle, de {low} à {high}.",
        "À {price}, il est dans votre fourchette habituelle, de {low} à {high}.",
    ),
    FactKind.PRICE_BELOW: (
        "Son prix de {price} est sous votre fourchette habituelle, qui commence à {low}.",
        "À {price}, il coûte moins que votre fourchette habituelle, qui commence à {low}.",
    ),
    FactKind.ASPECT: ("{num} avis saluent « {aspect} ».", "Salué dans {num} avis : « {aspect} »."),
    FactKind.RATING: ("Noté {rating} en moyenne dans {num} avis.", "{num} avis donnent {rating} en moyenne."),
    FactKind.ITEM_CATEGORY: ("De « {category} ».", "Un choix de « {category} »."),
    FactKind.ITEM_BRAND: ("De « {brand} ».",),
    FactKind.SHOWN: ("Son image montre « {labels} ».",),
    FactKind.WRITTEN_ON: ("Sur son image est écrit « {words} ».",),
}
_SPANISH = {
    FactKind.PATH: ("Comparte «{node}» con «{title}».", "«{title}» y este artículo comparten «{node}»."),
    FactKind.HISTORY: ("Por tu interés en «{title}».", "Combina con «{title}», que ya conoces."),
    FactKind.BRAND: ("De «{brand}», que eliges a menudo.", "A menudo eliges algo de «{brand}»."),
    FactKind.CATEGORY: ("A menudo eliges «{category}».", "De «{category}», que eliges a menudo."),
    FactKind.SEGMENT: ("Para quienes disfrutan de «{segment}».", "Algo para amantes de «{segment}»."),
    FactKind.PRICE_USUAL: (
        "Su precio de {price} está en tu rango habitual, de {low} a {high}.",
        "Por {price} está en tu rango habitual, de {low} a {high}.",
    ),
    FactKind.PRICE_BELOW: (
        "Su precio de {price} está por debajo de tu rango habitual, que empieza en {low}.",
        "Por {price} cuesta menos que tu rango habitual, que empieza en {low}.",
    ),
    FactKind.ASPECT: ("{num} reseñas elogian «{aspect}».", "Elogiado en {num} reseñas: «{aspect}»."),
    FactKind.RATING: ("Valorado con {rating} de media en {num} reseñas.", "{num} reseñas dan {rating} de media."),
    FactKind.ITEM_CATEGORY: ("De «{category}».", "Algo de «{category}»."),
    FactKind.ITEM_BRAND: ("De «{brand}».",),
    FactKind.SHOWN: ("Su imagen muestra «{labels}».",),
    FactKind.WRITTEN_ON: ("En su imagen está escrito «{words}».",),
}
_JAPANESE = {
    FactKind.PATH: ("「{title}」と「{node}」が共通しています。", "「{node}」が「{title}」と共通です。"),
    FactKind.HISTORY: ("「{title}」に関心をお持ちの方へ。", "「{title}」をご覧になった方に合う商品です。"),
    FactKind.BRAND: ("よくお選びの「{brand}」の商品です。", "「{brand}」をよくお選びです。"),
    FactKind.CATEGORY: ("「{category}」をよくお選びです。", "よくお選びの「{category}」からの商品です。"),
    FactKind.SEGMENT: ("「{segment}」がお好きな方へ。", "「{segment}」がお好きな方の商品です。"),
    FactKind.PRICE_USUAL: (
        "価格は{price}で、いつもの価格帯（{low}から{high}）です。",
        "いつもの価格帯（{low}から{high}）の{price}です。",
    ),
    FactKind.PRICE_BELOW: (
        "価格は{price}で、いつもの価格帯（{low}から）より低めです。",
        "いつもの価格帯（{low}から）より低めの{price}です。",
    ),
    FactKind.ASPECT: ("{num}件のレビューで「{aspect}」が好評です。", "「{aspect}」が{num}件のレビューで好評です。"),
    FactKind.RATING: ("レビュー{num}件の平均評価は{rating}です。", "平均評価は{rating}（レビュー{num}件）です。"),
    FactKind.ITEM_CATEGORY: ("「{category}」の商品です。", "「{category}」からの商品です。"),
    FactKind.ITEM_BRAND: ("「{brand}」の商品です。",),
    FactKind.SHOWN: ("画像には「{labels}」が写っています。",),
    FactKind.WRITTEN_ON: ("画像には「{words}」と書かれています。",),
}


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


LANGUAGES: dict[str, Language] = {
    "de": Language(_GERMAN, _words("das der die dies dieses hier ist es ein eine für sie und auch"), ","),
    "en": Language(_ENGLISH, _words("a an the this that it is one here for you and also as"), "."),
    "es": Language(_SPANISH, _words("el la los las este esta es un una para ti y también"), ","),
    "fr": Language(_FRENCH, _words("le la les ce cet cette est un une pour vous et aussi"), ","),
    "ja": Language(_JAPANESE, frozenset(), ".", gap="", is_spaced=False),
}
"""By ISO 639-1 code."""


def language_of(given: str | None, default: str) -> str:
    """A language that texts are written in, of a tag such as `de` or `fr_CA`; the default where it is none."""
    code = (given or "").strip().lower().replace("_", "-").split("-", 1)[0]
    return code if code in LANGUAGES else default
