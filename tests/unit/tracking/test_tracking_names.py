"""Names at MLflow's edge: every text fits, and comes back."""

from __future__ import annotations

import itertools
import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from mmrec_lib.tracking.names import MAX_KEY_CHARS, decode_key, encode_key, restore, shorten, sqlite_uri

ODD = [
    "plain",
    "",
    " ",
    " both ends ",
    "graph:made of (%)",
    "audio-my@model",
    "storage_recall@10",
    "_at_",
    "a_at_b@c",
    "_x41_",
    "_x_",
    "_sha256_",
    # What follows an underscore is escaped, and the two together look like an escape.
    "_at@",
    "_x41@",
    "_at/",
    "_at ",
    "../../etc/passwd",
    "/absolute",
    "a//b",
    "./a",
    ".",
    "..",
    "...",
    "a/",
    "'\"`\\",
    "line\nbreak\ttab\x00nul",
    "<script>alert(1)</script>",
    "\u05e9\u05dc\u05d5\u05dd\u202e\u200f",
    "🎧🏽",
    "\ud800",
]


def is_valid_key(key: str) -> bool:
    """MLflow's rule, and no spaces at the ends."""
    norm = posixpath.normpath(key)
    return (
        re.fullmatch(r"[/\w.\- ]+", key, flags=re.ASCII) is not None
        and norm == key
        and norm != "."
        and not norm.startswith(("..", "/"))
        and key.strip() == key
    )


@pytest.mark.parametrize("name", ODD)
def test_odd_names_become_valid_keys_and_come_back(name: str) -> None:
    assert is_valid_key(encode_key(name)), encode_key(name)
    assert decode_key(encode_key(name)) == name


@given(st.text(alphabet=st.one_of(st.sampled_from("_x4at_/. @sh256%"), st.characters()), max_size=40))
def test_any_name_becomes_a_valid_key_and_comes_back(name: str) -> None:
    assert is_valid_key(encode_key(name)), encode_key(name)
    assert decode_key(encode_key(name)) == name


def test_every_short_name_of_the_characters_of_escapes_has_a_key_of_its_own() -> None:
    names = ["".join(parts) for length in range(6) for parts in itertools.product("_atx4@/. ", repeat=length)]
    keys = {encode_key(name): name for name in names}
    assert len(keys) == len(names)
    assert all(decode_key(key) == name for key, name in keys.items())


def test_names_that_were_fine_stay_readable() -> None:
    assert encode_key("fit1.valid.all.ndcg@10") == "fit1.valid.all.ndcg_at_10"
    assert encode_key("ranker.content_weights.text/title") == "ranker.content_weights.text/title"


def test_long_texts_are_cut_and_lead_to_the_whole() -> None:
    first, second = "a" * 10_000, "a" * 9_999 + "b"
    short, other = shorten(first, MAX_KEY_CHARS), shorten(second, MAX_KEY_CHARS)
    assert len(short.text) == MAX_KEY_CHARS and short.text != other.text
    assert short.digest is not None
    assert restore(short.text, {short.digest: first}) == first
    assert shorten("short", MAX_KEY_CHARS).digest is None
    assert restore("short", {}) == "short"


@pytest.mark.parametrize("path", ["/a b/it's/mlflow.db", "/100%/x", "/a%20b/x", "/c#/x", '/say "no"/x', "/what?/x"])
def test_a_database_may_lie_in_any_folder(path: str) -> None:
    assert make_url(sqlite_uri(path)).database == path
