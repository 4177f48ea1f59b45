"""HTML in texts → the words that a reader of the page would see.

Markup is what a browser would take as such and what cannot be meant as text: a tag needs a name that HTML knows (or a
closing tag of the same name somewhere in the text, as XML exports have) and attributes that look like attributes. So
`a < b`, `<3` and `x<y and y>z` stay. The time is linear in the length of the text, however malformed it is.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

# What is left of a text whose markup was escaped again and again: each round removes one level of escaping.
_MOST_ROUNDS = 5
# An attribute value with `<` in it that ends later than this is a quote that was never closed.
_LONGEST_VALUE = 2_000
# Characters that may be scanned in vain, a character of the text; more makes only tags without quotes known.
_VAIN_SHARE, _VAIN_LEAST = 4, 100_000


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DROPPED = _names("script style template noscript iframe object svg xml noembed noframes")
_BREAKS = _names(
    "address article aside blockquote body br button canvas caption center dd details dialog dir div dl dt embed "
    "fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html img input "
    "legend li link listing main map marquee menu meta nav ol optgroup option p plaintext pre search section select "
    "source summary table tbody td textarea tfoot th thead title tr track ul video audio xmp"
)
_INLINE = _names(
    "a abbr acronym applet area b base basefont bdi bdo bgsound big blink cite code col colgroup data datalist del dfn "
    "em font i image ins kbd keygen label mark math menuitem meter multicol nobr output param path image portal "
    "progress q rb rp rt rtc ruby s samp slot small spacer span strike strong sub sup time tt u var wbr"
)
_KNOWN = _DROPPED | _BREAKS | _INLINE
_BOOLEAN = (
    "allowfullscreen|async|autofocus|autoplay|checked|compact|controls|declare|default|defer|disabled|formnovalidate|"
    "hidden|inert|ismap|itemscope|loop|multiple|muted|nomodule|noresize|noshade|novalidate|nowrap|open|playsinline|"
    "readonly|required|reversed|selected"
)

_MARKUP = re.compile(r"[<&]")
_START = re.compile(r"<(?:!--|!\[CDATA\[|[!?][A-Za-z\[]|/?([A-Za-z][\w:.-]{0,60}))")
_NAMES = re.compile(r"<(/?)([A-Za-z][\w:.-]{0,60})")
_SIMPLE_END = re.compile(r"""[\s/]*>|\s[^<>"']*=[^<>"']*>""")
# An attribute that makes a tag a tag: one with a value, one that HTML knows to have none, or a composed name.
_ATTRIBUTE = re.compile(
    rf"""[\s/]*(?:[A-Za-z_:@*\#(\[][\w:.@()\[\]-]*\s*=\s*
    (?:"[^"<]*"|'[^'<]*'|"[^"<>]*<[^"]{{0,{_LONGEST_VALUE}}}"(?=[\s/>])|'[^'<>]*<[^']{{0,{_LONGEST_VALUE}}}'(?=[\s/>])
    |[^\s<>]*)
    |(?:{_BOOLEAN})(?![\w-])|[A-Za-z@*\#]\w*[:-][\w:.-]+)""",
    re.VERBOSE | re.IGNORECASE,
)
# What else stands between attributes: bare words and stray quotes.
_STRAY = re.compile(r"""[\s/]*[^\s<>/]+""")
_END = re.compile(r"[\s/]*>")
_CLOSING_OF = {name: re.compile(rf"</{name}(?![\w:.-])[^<>]*>?", re.IGNORECASE) for name in _DROPPED}
_COMMENT_END = re.compile(r"--!?>")

# Names that HTML reads without a semicolon too; not where an address goes on (`?a=1&copy=2`).
_BARE_NAMES = "|".join(sorted((name for name in html5 if not name.endswith(";")), key=len, reverse=True))
_ENTITY = re.compile(
    rf"&(?:\#\d{{2,32}};?|\#\d;|\#[xX][0-9a-fA-F]{{1,32}}(?:;|(?![0-9a-zA-Z]))|[A-Za-z][A-Za-z0-9]{{1,31}};|"
    rf"(?:{_BARE_NAMES})(?![A-Za-z0-9=;]))"
)
# Ampersands that were escaped more often than there are rounds.
_ESCAPED_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|\#0{0,8}38|\#[xX]0{0,8}26);){4,}")


def plain_text(text: str) -> str:
    """The words of a text without its markup.

    Tags go: those that begin or end a block (paragraphs, list items, cells, line breaks, images, …) leave a line break,
    others nothing, so that `H<sub>2</sub>O` is `H2O`. Comments, scripts, styles and what else is not shown go with all
    that is in them; one that never ends goes to the end, as in a browser. CDATA is opened. Entities are decoded. Markup
    that was escaped as a whole, once or more often (`&amp;lt;p&amp;gt;`), counts as markup. A text without `<` and `&`
    is returned as it is. White space stays.

    Args:
        text: Of any length.
    """
    for number in range(_MOST_ROUNDS):
        if _MARKUP.search(text) is None:
            break
        before = text
        if "<" in text:
            text = _without_tags(text, runs_to_end=number == 0)
        if "&" in text:
            text = _ENTITY.sub(_decoded, _ESCAPED_AMPERSANDS.sub("&amp;amp;amp;", text))
        if text == before:
            break
    return text


def _decoded(match: re.Match[str]) -> str:
    entity = match.group()
    # `html.unescape` takes the longest beginning that is a name: `&notebook;` would become `¬ebook;`.
    is_unknown = entity[1] != "#" and entity[1:] not in html5
    return entity if is_unknown else html.unescape(entity)


def _without_tags(text: str, *, runs_to_end: bool) -> str:
    """The text between tags.

    Args:
        text: With `<`.
        runs_to_end: Whether a comment or script that never ends goes to the end of the text; otherwise only its tag.
    """
    scanner = _Scanner(text, runs_to_end)
    parts, position = [], 0
    while (start := _START.search(text, position)) is not None:
        parts.append(text[position : start.start()])
        end, instead = scanner.skipped(start)
        parts.append(instead)
        position = end
    parts.append(text[position:])
    return "".join(parts)


class _Scanner:
    """Tells where the markup that begins at a `<` ends."""

    def __init__(self, text: str, runs_to_end: bool) -> None:
        self._text, self._runs_to_end = text, runs_to_end
        self._vain = _VAIN_SHARE * len(text) + _VAIN_LEAST
        self._endless: set[str] = set()
        self._last_end = text.rfind(">")
        self._paired: frozenset[str] | None = None
        self._has_cdata = False

    def skipped(self, start: re.Match[str]) -> tuple[int, str]:
        """Position after the markup, and the text in its place: the `<` itself where it is no markup."""
        found, after = start.group(), start.end()
        if start.group(1) is not None:
            return self._tag(start.start(), after, start.group(1), is_closing=found.startswith("</"))
        if found == "<!--":
            return self._comment(after)
        if found == "<![CDATA[":
            end = self._text.find("]]>", after) if "]]>" not in self._endless else -1
            if end < 0:
                self._endless.add("]]>")
                return after, "\n"
            # What is in it is read as markup, because shops put their HTML there.
            return end + 3, "\n" + _without_tags(self._text[after:end], runs_to_end=False) + "\n"
        # A doctype, a conditional section or a processing instruction.
        end = self._text.find(">", after) if after <= self._last_end else -1
        return (end + 1, "\n") if end >= 0 else (after - 1, found[:-1])

    def _comment(self, after: int) -> tuple[int, str]:
        for empty in (">", "->"):
            if self._text.startswith(empty, after):
                return after + len(empty), ""
        end = _COMMENT_END.search(self._text, after) if "--" not in self._endless else None
        if end is not None:
            return end.end(), ""
        self._endless.add("--")
        return (len(self._text) if self._runs_to_end else after), ""

    def _tag(self, start: int, after: int, name: str, *, is_closing: bool) -> tuple[int, str]:
        name = name.lower()
        if name not in _KNOWN and name not in self._names_in_pairs:
            return after, self._text[start:after]
        end = self._end_of_tag(after, name, is_closing)
        if end is None:
            return after, self._text[start:after]
        if name in _DROPPED and not is_closing and not self._text.startswith("/>", end - 2):
            return self._end_of_dropped(end, name), "\n"
        return end, "\n" if name in _BREAKS or name in _DROPPED else ""

    def _end_of_dropped(self, end: int, name: str) -> int:
        closing = None if name in self._endless else _CLOSING_OF[name].search(self._text, end)
        if closing is not None:
            return closing.end()
        self._endless.add(name)
        return len(self._text) if self._runs_to_end and name in ("script", "style") else end

    def _end_of_tag(self, after: int, name: str, is_closing: bool) -> int | None:
        """End of a tag; None where it is none."""
        simple = _SIMPLE_END.match(self._text, after) if self._vain <= 0 else _END.match(self._text, after)
        if simple is not None:
            return simple.end()
        if self._vain <= 0:
            return None
        position, has_attribute = after, False
        while True:
            found = _ATTRIBUTE.match(self._text, position) if position > after or self._is_space(after) else None
            if found is None and (has_attribute or is_closing):
                found = _STRAY.match(self._text, position)
            if found is None:
                break
            has_attribute, position = True, found.end()
        end = _END.match(self._text, position)
        if end is not None:
            return end.end()
        self._vain -= position - after + 1
        # The tag is broken off by another one or by the end of the text.
        rest = position + len(self._text[position : position + 8]) - len(self._text[position : position + 8].lstrip())
        is_cut = rest >= len(self._text) or self._text[rest] == "<"
        is_sure = has_attribute or is_closing or (len(name) > 1 and name in _BREAKS)
        return rest if is_cut and is_sure else None

    def _is_space(self, position: int) -> bool:
        return self._text[position : position + 1].isspace() or self._text[position : position + 1] == "/"

    @property
    def _names_in_pairs(self) -> frozenset[str]:
        """Names that are no HTML but have an opening and a closing tag."""
        if self._paired is None:
            opened, closed = set[str](), set[str]()
            for slash, name in _NAMES.findall(self._text):
                (closed if slash else opened).add(name.lower())
            self._paired = frozenset(opened & closed)
        return self._paired
