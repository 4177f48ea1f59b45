from __future__ import annotations

import pytest

from mmrec_lib.text.clauses import clauses, features, tokens
from mmrec_lib.text.tfidf import Vocabulary


def test_a_clause_ends_at_punctuation_and_before_a_contrast() -> None:
    text = "The seat is fine, the light poor; but I like it although it creaks."
    assert clauses(text) == ["The seat is fine", "the light poor", "but I like it", "although it creaks"]


@pytest.mark.parametrize("text", ["", "  ", "...", "\0", "\n\n"])
def test_a_text_without_words_has_no_features(text: str) -> None:
    assert features(text) == []


@pytest.mark.parametrize(
    ("clause", "negated"),
    [
        ("it is not very good", {"very", "good"}),
        ("it isn't good", {"good"}),
        ("it isn’t good", {"good"}),
        ("das ist nicht schön", {"schön"}),
        ("ce n'est pas beau", {"beau"}),
        ("never one two three four five", {"one", "two", "three", "four"}),
        ("good", set()),
    ],
)
def test_a_negation_reaches_over_the_next_words(clause: str, negated: set[str]) -> None:
    assert {token.word for token in tokens(clause) if token.is_negated} == negated


def test_a_negation_ends_with_its_clause() -> None:
    assert ("good", None) in features("not cheap, good")


def test_words_without_spaces_and_emoji_are_tokens() -> None:
    assert [token.word for token in tokens("很好 👍 l'odeur")] == ["很", "好", "👍", "l'odeur"]


def test_an_unseen_negation_counts_as_the_word_with_the_opposite_sign() -> None:
    vocabulary = Vocabulary.of([features("good"), features("bad"), features("not bad")], 1, 100)
    column = list(vocabulary.idf).index
    vector = vocabulary.vectors([features("not good")]).toarray()[0]
    assert vector[column("good")] < 0 < vector[column("not")]
    seen = vocabulary.vectors([features("not bad")]).toarray()[0]
    assert seen[column("bad")] == 0 < seen[column("not_bad")]


def test_a_vocabulary_keeps_the_most_frequent_features() -> None:
    documents = [features(text) for text in ("red red", "red", "blue", "blue", "grey")]
    assert list(Vocabulary.of(documents, 2, 10).idf) == ["blue", "red"]
    assert list(Vocabulary.of(documents, 1, 1).idf) == ["blue"]
