"""BM25: known values, and what must not change a score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.search.words import QueryWords, WordIndex, WordIndexBuilder
from mmrec_lib.text.tokenizer import tokenize

TITLES = ["red dress", "red shoes red laces", "", "blue dress for a long summer evening"]


def index_of(fields: Mapping[str, list[str]], weights: Mapping[str, float]) -> WordIndex:
    builder = WordIndexBuilder(len(next(iter(fields.values()))), weights)
    for name, texts in fields.items():
        builder.add(name, range(len(texts)), texts)
    return builder.build()


def lucene(query: str, texts: list[str], k1: float = 1.2, b: float = 0.75) -> list[float]:
    """The formula of Lucene, term by term."""
    counts = [Counter(tokenize(text)) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / sum(length > 0 for length in lengths)
    scores = [0.0] * len(texts)
    for word in tokenize(query):
        holding = sum(word in count for count in counts)
        idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for row, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            if count[word]:
                scores[row] += idf * count[word] / (count[word] + k1 * (1 - b + b * length / mean))
    return scores


@pytest.mark.parametrize("query", ["red", "red dress", "dress dress summer", "unknown", "RED evening unknown"])
def test_one_field_scores_as_lucene_does(query: str) -> None:
    found = index_of({"title": TITLES}, {"title": 1.0}).score(QueryWords.of(query, 100).counts)
    assert found == pytest.approx(lucene(query, TITLES), rel=1e-6)


def test_a_word_counts_for_more_in_a_field_that_weighs_more() -> None:
    fields = {"title": ["red", "shoes"], "description": ["shoes", "red"]}
    scores = index_of(fields, {"title": 2.0, "description": 1.0}).score({"red": 1})
    assert scores[0] > scores[1] > 0


def test_a_field_without_weight_is_not_searched() -> None:
    fields = {"title": ["red", "shoes"], "description": ["shoes", "red"]}
    assert index_of(fields, {"title": 1.0, "description": 0.0}).score({"red": 1})[1] == 0


@given(st.lists(st.sampled_from(tokenize(" ".join(TITLES))), max_size=6), st.randoms())
def test_the_order_of_words_does_not_change_a_bit(words: list[str], random: object) -> None:
    index = index_of({"title": TITLES}, {"title": 1.0})
    turned = list(words)
    random.shuffle(turned)  # type: ignore[attr-defined]
    one, other = (index.score(QueryWords.of(" ".join(part), 100).counts) for part in (words, turned))
    assert one.tobytes() == other.tobytes()


def test_an_index_is_the_same_after_it_was_kept_in_a_folder(tmp_path: Path) -> None:
    index = index_of({"title": TITLES}, {"title": 1.0})
    index.save(tmp_path)
    again = WordIndex.load(tmp_path)
    np.testing.assert_array_equal(again.score({"red": 1, "dress": 2}), index.score({"red": 1, "dress": 2}))


def test_documents_without_any_word_make_an_index_that_finds_nothing() -> None:
    assert index_of({"title": ["", "?!"]}, {"title": 1.0}).score({"red": 1}).tolist() == [0.0, 0.0]


def test_only_the_first_words_of_a_huge_query_are_searched_and_it_is_told() -> None:
    words = QueryWords.of(" ".join(f"w{number}" for number in range(5_000)), 256)
    assert (len(words.counts), words.is_cut, next(iter(words.counts))) == (256, True, "w0")
    assert not QueryWords.of("w " * 5_000, 256).is_cut, "a word that is said again is one word"
