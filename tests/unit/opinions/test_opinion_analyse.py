from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.opinions.analyse import Opinion, analyse
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.model import OpinionModel, fit_opinions
from mmrec_lib.opinions.ratings import Judgement
from tests.unit.opinions.planted import TOPICS, planted_reviews


def one(text: str | None, model: OpinionModel, config: OpinionConfig) -> Opinion:
    (opinion,) = analyse([text], model, config)
    return opinion


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("The screen is great", "positive"),
        ("The screen is not great", "negative"),
        ("The screen is awful", "negative"),
        ("The screen is not awful", "positive"),
        ("The screen isn't really lovely", "negative"),
        ("The story is ordinary", "neutral"),
    ],
)
def test_negation_turns_the_sentiment(model: OpinionModel, config: OpinionConfig, text: str, sentiment: str) -> None:
    found = one(text, model, config)
    assert found.sentiment == sentiment
    assert found.probabilities is not None and sum(found.probabilities) == pytest.approx(1.0)
    assert found.rating is not None and 1 <= found.rating <= 5
    assert found.rating_std is not None and 0 < found.rating_std < 2


def test_planted_aspects_are_found_and_no_others(model: OpinionModel) -> None:
    assert set(model.aspects) == {thing for things in TOPICS for thing in things}


def test_an_aspect_has_the_polarity_of_its_own_clause(model: OpinionModel, config: OpinionConfig) -> None:
    found = one("The battery life is superb, but the charger is horrible. The screen.", model, config)
    by_name = {aspect.aspect: aspect for aspect in found.aspects}
    assert set(by_name) == {"battery life", "charger", "screen"}
    assert by_name["battery life"].sentiment == "positive" and (by_name["battery life"].polarity or 0) > 0.3
    assert by_name["charger"].sentiment == "negative" and (by_name["charger"].polarity or 0) < -0.3
    assert by_name["charger"].clause == "but the charger is horrible"


def test_nothing_said_about_an_aspect_is_no_polarity(model: OpinionModel, config: OpinionConfig) -> None:
    (aspect,) = one("Screen!", model, config).aspects
    assert (aspect.aspect, aspect.sentiment, aspect.polarity) == ("screen", None, None)


def test_planted_topics_are_told_apart(model: OpinionModel, config: OpinionConfig) -> None:
    assert model.topics is not None and len(model.topics.names) == len(TOPICS)
    phone, film = (one(f"The {a} and the {b}.", model, config) for a, b in (("screen", "charger"), ("actor", "ending")))
    assert phone.topics[0].topic != film.topics[0].topic
    assert "screen" in phone.topics[0].name and "actor" in film.topics[0].name
    assert phone.topics[0].share > 0.8


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no_words"),
        ("", "no_words"),
        (" \n\t ", "no_words"),
        ("\0\0", "no_words"),
        ("...", "no_known_words"),
        ("مرحبا بالعالم", "no_known_words"),
        ("日本語の文章です", "no_known_words"),
        ("a" * 1_000_000, "no_known_words"),
        ("\ud800", "no_known_words"),
    ],
    ids=["none", "empty", "blank", "nul", "dots", "arabic", "japanese", "megabyte", "surrogate"],
)
def test_what_cannot_be_judged_is_an_error_with_its_reason(
    model: OpinionModel, config: OpinionConfig, text: str | None, reason: str
) -> None:
    found = one(text, model, config)
    assert found.error is not None and found.error.startswith(reason + ":")
    assert found.sentiment is found.probabilities is found.rating is None


def test_a_megabyte_and_nul_are_read_as_far_as_allowed(model: OpinionModel, config: OpinionConfig) -> None:
    assert one("great " * 200_000, model, config).sentiment == "positive"
    assert one("nul\0 is awful \0", model, config).sentiment == "negative"
    late = one("qqq " * (config.max_characters // 4) + "awful", model, config)
    assert late.error is not None


def test_an_opinion_does_not_depend_on_its_neighbours(model: OpinionModel, config: OpinionConfig) -> None:
    texts = [review.text for review in planted_reviews(50, seed=9)] + [None, ""]
    together = analyse(texts, model, config)
    assert together == [one(text, model, config) for text in texts]
    assert together[::-1] == analyse(texts[::-1], model, config)


def test_without_ratings_a_lexicon_stands_in_for_english_only(config: OpinionConfig) -> None:
    few = fit_opinions(planted_reviews(20), config)
    good, bad = one("I love it, what a wonderful film", few, config), one("This is not good at all", few, config)
    assert (good.sentiment, bad.sentiment) == ("positive", "negative")
    assert good.probabilities is good.rating is bad.rating is None
    german = one("Das ist super, ich bin sehr zufrieden und bestelle es bald wieder", few, config)
    assert german.error is not None and "50 rated reviews are needed" in german.error and "English only" in german.error
    unknown = one("The table is brown", few, config)
    assert unknown.error is not None and unknown.error.startswith("no_known_words")


def test_nothing_to_fit_on_is_a_model_that_gives_reasons(config: OpinionConfig) -> None:
    empty = fit_opinions([], config)
    assert empty.aspects == () and empty.topics is None
    assert one("I love it so much", empty, config).sentiment == "positive"


class Always:
    """A classifier that finds everything negative and knows no stars."""

    def judge(self, texts: Sequence[str], config: OpinionConfig) -> Judgement:
        none = np.full(len(texts), np.nan)
        return Judgement(np.tile([0.8, 0.1, 0.1], (len(texts), 1)), none, none, np.ones(len(texts), bool))


def test_a_classifier_tells_sentiments_and_the_store_the_ratings(model: OpinionModel, config: OpinionConfig) -> None:
    (found,) = analyse(["The screen is great"], model, config, Always())
    assert found.sentiment == "negative" and found.probabilities == (0.8, 0.1, 0.1)
    assert found.rating == one("The screen is great", model, config).rating
    (unknown,) = analyse(["qqq"], model, config, Always())
    assert unknown.sentiment == "negative" and unknown.rating is None


def test_a_damaged_model_is_refused(model: OpinionModel) -> None:
    document, arrays = model.to_saved()
    with pytest.raises(ModelError, match="opinion_model"):
        OpinionModel.of_saved(document, arrays[:100])
    with pytest.raises(ModelError, match="opinion_model"):
        OpinionModel.of_saved("{}", arrays)
