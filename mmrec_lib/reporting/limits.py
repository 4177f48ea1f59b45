"""Bounds of what a report shows: no value of the data makes the page long, turns its text around or hides in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from mmrec_lib.safe_text import page_text
from mmrec_lib.text.markup import plain_text

MAX_CHARACTERS = 600
MAX_ENTRIES = 2_000
# Of a text that is longer than this only the beginning is looked at.
_MAX_SEEN = 20_000
_MAX_ID_CHARACTERS = 200
# Fields whose markup goes, as it goes before they become contents; others are shown as they came.
_SHOP_TEXTS = frozenset({"title", "caption", "item_title", "transcript", "path", "taste"})


def bounded(data: Any, max_entries: int = MAX_ENTRIES) -> Any:
    """Report data whose texts, lists and mappings are short enough to be shown.

    Texts have at most `MAX_CHARACTERS` characters, ids fewer (beginning and end, so that they stay apart); an ellipsis
    shows where something is missing. Controls and characters that turn the direction of text go, and the markup of
    titles, captions and transcripts. Lists and mappings have at most `max_entries` entries.

    Args:
        data: A dataclass of `reporting.data`, or what is in it.
        max_entries: Most entries of a list or mapping.
    """
    return _bounded(data, "", max_entries)


def _bounded(value: Any, name: str, max_entries: int) -> Any:
    if isinstance(value, str):
        return _id_text(value) if name.endswith("_id") else _text(value, is_shop_text=name in _SHOP_TEXTS)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: getattr(value, part.name) for part in fields(value)}
        return replace(value, **{part: _bounded(held, part, max_entries) for part, held in parts.items()})
    if isinstance(value, Mapping):
        entries = list(value.items())[:max_entries]
        return {_bounded(key, name, max_entries): _bounded(held, name, max_entries) for key, held in entries}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_bounded(held, name, max_entries) for held in value[:max_entries]]
    return value


def _text(text: str, *, is_shop_text: bool) -> str:
    start = text[:_MAX_SEEN]
    if is_shop_text:
        start = " ".join(plain_text(start).split())
    return shorten(page_text(start), MAX_CHARACTERS, is_cut=len(text) > _MAX_SEEN)


def _id_text(text: str) -> str:
    if len(text) > _MAX_ID_CHARACTERS:
        text = text[: _MAX_ID_CHARACTERS * 3 // 4 - 1] + "…" + text[-_MAX_ID_CHARACTERS // 4 :]
    return page_text(text)


def shorten(text: str, length: int, *, is_cut: bool = False) -> str:
    """At most `length` characters; a cut, also one before (`is_cut`), shows as an ellipsis."""
    if len(text) <= length - is_cut:
        return text + "…" * is_cut
    return text[: length - 1].rstrip() + "…"
