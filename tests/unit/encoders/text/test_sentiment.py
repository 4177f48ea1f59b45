from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import encoder_spec, make_classifier, make_encoder
from mmrec_lib.encoders.text.sentiment import SentimentClassifier, read_labels
from mmrec_lib.errors import EncoderError
from mmrec_lib.opinions.config import OpinionConfig
from tests.unit.encoders.tiny_classifiers import FAMILIES, make_classifier_of_family, plain_logits
from tests.unit.encoders.tiny_sentiment import make_sentiment_model

OPINION = OpinionConfig()
STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_sentiment_model(folder / "words", ("neg", "neu", "POSITIVE"))
    make_sentiment_model(folder / "stars", STARS, planted=True)
    make_sentiment_model(folder / "dumb", ("LABEL_0", "LABEL_1"))
    return folder


def classifier(root: Path, name: str, **settings: object) -> SentimentClassifier:
    models = ModelsConfig(root=str(root))
    config = encoder_config(id=name, kind="sentiment", **settings)
    made = make_classifier(config, models)
    made.load()
    return made


def test_classes_named_as_sentiments_give_probabilities_and_no_rating(root: Path) -> None:
    found = classifier(root, "words").judge(["good shoe", "bad shoe"], OPINION)
    assert found.probabilities.shape == (2, 3)
    assert found.probabilities.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert not np.allclose(found.probabilities[0], found.probabilities[1])
    assert np.isnan(found.ratings).all() and found.is_known.all()


def test_classes_named_as_stars_give_a_rating_and_its_uncertainty(root: Path) -> None:
    found = classifier(root, "stars").judge(["good"], OPINION)
    assert found.ratings[0] == pytest.approx(5.0, abs=0.01)
    assert 0 < found.stds[0] < 0.1
    assert found.probabilities[0].argmax() == 2


def test_a_text_is_judged_the_same_in_any_company(root: Path) -> None:
    made = classifier(root, "words", batch_tokens=64)
    texts = ["good", "bad bad shoe", "not good", "fine " * 200, "shoe"]
    together = made.judge(texts, OPINION).probabilities
    alone = np.vstack([made.judge([text], OPINION).probabilities for text in texts])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("text", ["", "qqq", "日本語", "\0"])
def test_a_text_of_unknown_tokens_is_not_known(root: Path, text: str) -> None:
    assert not classifier(root, "words").judge([text], OPINION).is_known[0]


def test_a_megabyte_is_read_in_a_few_windows(root: Path) -> None:
    found = classifier(root, "words", max_windows=2).judge(["good " * 200_000], OPINION)
    assert found.is_known[0]


@pytest.fixture(scope="module", params=FAMILIES)
def family(root: Path, request: pytest.FixtureRequest) -> Path:
    make_classifier_of_family(root / request.param, request.param)
    return root / request.param


def test_every_family_judges_as_a_plain_call_whatever_is_in_the_batch(family: Path) -> None:
    made = classifier(family.parent, family.name)
    texts = {"good shoe": [2, 4, 7, 3], "not bad": [2, 8, 5, 3], "fine fine shoe good bad not good shoe": None}
    found = made.judge(list(texts), OPINION).probabilities
    for (text, ids), probabilities in zip(texts.items(), found, strict=True):
        assert np.array_equal(made.judge([text], OPINION).probabilities[0], probabilities)
        if ids is not None:
            assert probabilities == pytest.approx(plain_logits(family, ids).softmax(0).numpy(), abs=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_long_text_fits_the_positions_of_every_family(family: Path) -> None:
    assert classifier(family.parent, family.name, max_tokens=1_000).judge(["good " * 300], OPINION).is_known.all()


def test_half_of_a_surrogate_pair_costs_nothing(root: Path) -> None:
    found = classifier(root, "words").judge(["good \ud83d shoe", "good \ufffd shoe"], OPINION)
    assert found.is_known.all() and np.array_equal(*found.probabilities)


def test_a_model_that_cannot_judge_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    make_classifier_of_family(tmp_path / "gpt2", "gpt2")
    # Padding that the network has no row for.
    settings = json.loads((tmp_path / "gpt2" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps({**settings, "pad_token_id": 99}), encoding="utf-8")
    with pytest.raises(EncoderError, match=r"gpt2.*needed, got"):
        classifier(tmp_path, "gpt2")


def test_nameless_classes_are_refused_unless_told(root: Path) -> None:
    with pytest.raises(EncoderError, match=r"LABEL_0.*labels"):
        classifier(root, "dumb")
    told = classifier(root, "dumb", labels={"LABEL_0": "negative", "LABEL_1": "positive"})
    found = told.judge(["good"], OPINION).probabilities
    assert found[0, 1] == 0 and found.sum() == pytest.approx(1.0)


def test_other_meanings_are_another_revision(root: Path) -> None:
    models = ModelsConfig(root=str(root))
    plain = encoder_config(id="dumb", kind="sentiment")
    told = plain.model_copy(update={"labels": {"LABEL_0": "negative", "LABEL_1": "positive"}})
    assert encoder_spec(plain, models).revision != encoder_spec(told, models).revision


def test_a_sentiment_model_is_no_encoder(root: Path) -> None:
    with pytest.raises(EncoderError, match="makes vectors"):
        make_encoder(encoder_config(id="words", kind="sentiment"), ModelsConfig(root=str(root)))


@pytest.mark.parametrize(
    ("names", "meanings"),
    [
        (("NEGATIVE", "POSITIVE"), ["negative", "positive"]),
        (("neg", "neu", "pos"), ["negative", "neutral", "positive"]),
        (STARS, [1.0, 2.0, 3.0, 4.0, 5.0]),
        (("1", "2", "3", "4", "5"), [1.0, 2.0, 3.0, 4.0, 5.0]),
        (("star_1", "star_2"), [1.0, 2.0]),
    ],
)
def test_names_of_classes_are_understood(names: tuple[str, ...], meanings: list[object]) -> None:
    assert read_labels(dict(enumerate(names)), {}) == meanings


@pytest.mark.parametrize(
    "names", [("joy", "anger"), ("negative", "5 stars"), ("neg", "negative"), ("6 stars", "1 star")]
)
def test_other_classes_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="classes"):
        read_labels(dict(enumerate(names)), {})
