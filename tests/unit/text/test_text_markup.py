"""Tests of markup: tags go, what can be meant as text stays, in linear time."""

from __future__ import annotations

import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.text.markup import plain_text


def words(text: str) -> str:
    return " ".join(plain_text(text).split())


@pytest.mark.parametrize(
    "text",
    [
        "a < b",
        "a > b",
        "a<b",
        "<3",
        "I <3 it",
        "</3",
        "x<y and y>z",
        "if a<b and b>c",
        "if a <b or i> 3 then",
        "1 < 2 > 0",
        "p < 0.05 and q > 3",
        "for i<n; i>0",
        "<-- here -->",
        "a->b, b<-a",
        "<< >> <> < >",
        "Max <max@example.org>",
        "<https://example.org/a>",
        "List<String> of Map<K, V>",
        "write <your name> here",
        "I <rant> about it",
        "AT&T, R&D, Q&A, B&B;",
        "https://example.org/?a=1&copy=2&lt=3&reg=4",
        "&notebook; &unknown; &#; &#x; &;",
        "size <",
        "<",
        "&",
        "",
        "a\n b\t ",
    ],
)
def test_what_is_no_markup_stays(text: str) -> None:
    assert plain_text(text) == text


@pytest.mark.parametrize(
    ("markup", "clean"),
    [
        ("<p>Soft &amp; warm</p><ul><li>Red<li>Blue</ul>", "Soft & warm Red Blue"),
        ("<h1>Dress</h1>Long<br>sleeves<BR/>and</br>hem", "Dress Long sleeves and hem"),
        ("<table border=1><tr><td>Size<td>M</table>", "Size M"),
        ("H<sub>2</sub>O is <b>bo</b>ld, <EM class='x'>so</EM >", "H2O is bold, so"),
        ("red<img src='a.png' alt='x'>hat", "red hat"),
        ('<IMG SRC="data:image/png;base64,' + "A" * 300_000 + '">hat', "hat"),
        ("""<a href="a" title='x > y' data-x="<b>">link</a>""", "link"),
        ("""<p style="a"class="b" nowrap foo">text""", "text"),
        ("<div v-if=\"a<b\" @click='go' hidden>x</div>", "x"),
        ("a<!-- <p> -- > -->b<!-->c<!--->d", "abcd"),
        ("<script>if (a<b) alert('</p>')</script>a<style type=x>p{}</style >b", "a b"),
        ("<SCRIPT\n>x</SCRIPT\n>y", "y"),
        ("<svg><text>no</text></svg>yes<noscript>no</noscript>", "yes"),
        ("<!DOCTYPE html><html><head><title>T</title></head><body>B</body></html>", "T B"),
        ("<?xml version='1.0'?><![CDATA[<p>In &lt; it</p>]]>", "In < it"),
        ("<![CDATA[5 < 6]]> <![if !mso]>x<![endif]>", "5 < 6 x"),
        ("<features><feature>Warm</feature></features><o:p></o:p>", "Warm"),
        ("&lt;p&gt;escaped&lt;/p&gt; &amp;lt;b&amp;gt;twice&amp;lt;/b&amp;gt;", "escaped twice"),
        ("&amp;amp;amp;amp;amp;amp;amp;amp; &amp;nbsp; &amp;#8217; &#38;amp; x", "& ’ & x"),
        (
            "It&#39;s &#x201C;q&#x201D; &eacute; &copy 2020 &#150; 1&nbsp;kg &hearts; &lt;3 &lt; &gt;",
            "It's “q” é © 2020 – 1 kg ♥ <3 < >",
        ),
        ("&#0; &#xD800; &#7; &#1114112;", "� � �"),
        # Cut off by an export, or never closed.
        ('see <a href="https://example.org/a', "see"),
        ("one<br", "one"),
        ("<p>one</p", "one"),
        ("<p>one<div class='x'<b>two</b>", "one two"),
        ('<a href="open>link</a> of 12" width', 'link of 12" width'),
        ("one<!-- two", "one"),
        ("one<script>two", "one"),
        ("one<![CDATA[two", "one two"),
        # A tag that is spoken of may go; the text around it must not.
        ("the &lt;script&gt; element and &lt;!-- its comment", "the element and its comment"),
        ("a<<b>b>c", "ac"),
    ],
)
def test_markup_goes_and_words_stay(markup: str, clean: str) -> None:
    assert words(markup) == clean
    assert words(clean) == clean


NAMES = ("p", "b", "div", "li", "span", "br", "a", "h1", "td")
WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="<>&", exclude_categories=("Cc", "Zs", "Zl", "Zp")), min_size=1
)


@st.composite
def marked_up(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Words between tags, and the words."""
    found = draw(st.lists(WORDS, min_size=1, max_size=6))
    parts = []
    for word in found:
        name, value = draw(st.sampled_from(NAMES)), draw(st.text("ab<>&' =/", max_size=8))
        opening = f'<{name} class="{html.escape(value)}">' if draw(st.booleans()) else f"<{name}>"
        parts.append(f" {opening}{html.escape(word)}</{name}> ")
    return "".join(parts), found


@given(marked_up(), st.integers(0, 2))
def test_words_survive_any_tags_around_them_however_often_they_are_escaped(
    made: tuple[str, list[str]], times: int
) -> None:
    text, found = made
    for _ in range(times):
        text = html.escape(text)
    assert plain_text(text).split() == " ".join(found).split()


@given(
    st.lists(
        st.sampled_from(
            [
                "<",
                ">",
                "a",
                "p",
                "script",
                "!--",
                "--",
                "&",
                "amp;",
                "lt;",
                "#38;",
                '"',
                "'",
                "=",
                "/",
                " ",
                "]]>",
                "<![CDATA[",
                "?",
                "é",
                "x-y",
            ]
        ),
        max_size=40,
    ).map("".join)
)
def test_malformed_markup_never_fails_and_never_grows(text: str) -> None:
    assert len(plain_text(text)) <= 2 * len(text)


@given(st.text(st.characters(exclude_characters="<&")))
def test_a_text_without_markup_is_the_same_object(text: str) -> None:
    assert plain_text(text) is text


HOSTILE = {
    "starts": "<a ",
    "open quotes": '<a b="',
    "chained quotes": "<a b=\"<a b=' ",
    "crossed quotes": "<a b='<a c=\"' d='\" ",
    "unquoted": "<a b=<a ",
    "attributes": "<p a=b c d e ",
    "comments": "<!--",
    "scripts": "<script>",
    "sections": "<![CDATA[",
    "instructions": "<?a",
    "declarations": "<!a",
    "closings": "</a",
    "slashes": "<p /",
    "drawings": "<svg>",
    "ampersands": "&",
    "escapes": "&amp;",
    "escaped again": "amp;",
    "unknown pairs": "<x></x>",
}


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_linear_in_the_length_of_hostile_markup(piece: str) -> None:
    def seconds(size: int) -> float:
        text = "&" + piece * (size // len(piece))
        start = time.process_time()
        plain_text(text)
        return time.process_time() - start

    seconds(10_000)
    # Quadratic time would take sixteen times as long; a small one may be noise.
    assert seconds(400_000) < 8 * max(min(seconds(100_000), seconds(100_000)), 0.03)
