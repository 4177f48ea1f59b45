"""Labels become examples: checked, divided the same way each time; spans as tags and back; figures by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.config import load_config
from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.evaluate import MAJORITY, class_figures, majority, mean_level_error, span_figures
from mmrec_lib.recipes.examples import Example, TextSpan, are_levels, divide_examples, label_names
from mmrec_lib.recipes.iob import spans_of, tags_of
from mmrec_lib.runtime.settings import Settings
from tests.conftest import PROJECT

CLASSES = RecipeConfig(min_examples=10)
SPANS = RecipeConfig(kind="tagger", min_examples=10)


def examples(num: int = 40) -> list[Example]:
    return [Example(f"l{n}", f"text {n}", label="good" if n % 2 else "bad") for n in range(num)]


@pytest.mark.parametrize("path", sorted((PROJECT / "conf" / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_recipe_of_the_sample_store_is_a_configuration_with_labels(path: Path) -> None:
    config = load_config(Settings, PROJECT / "conf", "local", [str(path)], []).recipe
    assert config.name == path.stem
    labels = PROJECT / "tests" / "data" / "store" / "labels"
    assert config.task in {file.stem for file in labels.iterdir()}


def test_equal_labels_are_divided_the_same_way_whatever_comes_beside_them() -> None:
    few, many = divide_examples(examples(40), CLASSES), divide_examples(examples(400), CLASSES)
    part = {one.id: one.split for name in ("train", "valid", "test") for one in many.part(name)}
    assert all(part[one.id] == one.split for name in ("train", "valid", "test") for one in few.part(name))
    assert 0.1 < len(many.test) / 400 < 0.3
    assert few.labels == ("bad", "good")


def test_equal_contents_are_in_one_part_and_a_given_split_is_kept() -> None:
    twice = [Example(f"l{n}", f"text {n % 40}", label="good" if n % 2 else "bad") for n in range(80)]
    parts = divide_examples(twice, CLASSES)
    texts = [{one.text for one in parts.part(name)} for name in ("train", "valid", "test")]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    names = ("train", "valid", "test", "train")
    given_splits = [Example(one.id, one.text, label=one.label, split=names[n % 4]) for n, one in enumerate(examples())]
    assert [len(divide_examples(given_splits, CLASSES).part(name)) for name in names[:3]] == [20, 10, 10]


@pytest.mark.parametrize(
    ("found", "config", "told"),
    [
        (examples(9), CLASSES, "at least 10 labelled examples .* got 9"),
        (
            [Example(f"l{n}", f"t{n}", label="one") for n in range(40)],
            CLASSES,
            "at least 2 different labels .* got one",
        ),
        ([Example(f"l{n}", "same", label=f"c{n % 2}") for n in range(40)], CLASSES, "40 of 40 contradict .* l0 and l1"),
        (examples(), SPANS, "spans are needed by kind tagger, but 40 labels are classes"),
        (
            [Example(f"l{n}", "red hat", spans=(TextSpan(0, 8, "x"),)) for n in range(40)],
            SPANS,
            r"of 40 labels end outside, such as l0 \(7 characters\)",
        ),
        (
            [Example(f"l{n}", f"t{n}", label=f"c{n % 2}", split="train") for n in range(40)],
            CLASSES,
            "valid, test has none",
        ),
    ],
)
def test_labels_that_cannot_be_learned_are_refused_with_the_reason(
    found: list[Example], config: RecipeConfig, told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        divide_examples(found, config)


def test_few_contradicting_labels_are_left_out_and_counted() -> None:
    found = [*examples(60), Example("m0", "text 3", label="good"), Example("m1", "text 3", label="bad")]
    parts = divide_examples(found, CLASSES)
    assert parts.num_contradicting == 1, "two of three say good"
    tied = divide_examples([*examples(60), Example("m1", "text 3", label="bad")], CLASSES)
    assert tied.num_contradicting == 2, "of a tie none counts"


def test_rating_levels_are_in_order_of_their_values() -> None:
    assert label_names([Example(str(n), "t", label=str(n)) for n in (10, 2, 1)]) == ("1", "2", "10")
    assert label_names([Example(str(n), "t", label=n) for n in ("b", "10", "a")]) == ("10", "a", "b")


def test_whole_numbers_alone_are_levels_and_those_of_all_parts_must_be() -> None:
    assert are_levels(["-1", "10"]) and not are_levels(["--1"]) and not are_levels(["1", ""])
    splits = ("train", "valid", "test", "train")
    found = [Example(f"l{n}", f"t{n}", other="o", label=str(n % 2), split=splits[n % 4]) for n in range(40)]
    wrong = [*found[:-2], replace(found[-2], label="good"), found[-1]]
    config = RecipeConfig(kind="pair", min_examples=10)
    assert divide_examples(found, config).labels == ("0", "1")
    with pytest.raises(RecipeError, match=r"whole numbers are needed .* 1 are none, such as l38 \(`good`, test\)"):
        divide_examples(wrong, config)
    assert divide_examples(wrong, CLASSES).labels == ("0", "1"), "classes are names"


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([None, "a", "b"])), min_size=1, max_size=12))
def test_spans_survive_as_tags_where_tokens_meet_their_ends(parts: list[tuple[int, str | None]]) -> None:
    spans, offsets, at = [], list[tuple[int, int]](), 0
    for length, label in parts:
        offsets += [(at + n, at + n + 1) for n in range(length)]
        if label is not None:
            spans.append(TextSpan(at, at + length, label))
        at += length
    assert [span for span, _ in spans_of(tags_of(spans, offsets), offsets)] == spans


def test_an_inside_tag_without_its_begin_opens_a_part_and_confidence_is_the_mean() -> None:
    found = spans_of(["O", "I-a", "I-a", "I-b"], [(0, 1), (1, 2), (2, 3), (3, 4)], np.array([0.9, 0.6, 0.8, 1.0]))
    assert [(span.start, span.end, span.label) for span, _ in found] == [(1, 3, "a"), (3, 4, "b")]
    assert [confidence for _, confidence in found] == pytest.approx([0.7, 1.0])


def test_figures_of_classes_are_those_counted_by_hand() -> None:
    figures = class_figures("m", ["a", "a", "a", "b"], ["a", "a", "b", "b"], ["a", "b", "c"])
    value = {(f.metric, f.label, f.predicted): f.value for f in figures}
    assert value["accuracy", "", ""] == 0.75
    assert [value[metric, "a", ""] for metric in ("precision", "recall")] == pytest.approx([1.0, 2 / 3])
    assert [value[metric, "b", ""] for metric in ("precision", "recall")] == [0.5, 1.0]
    assert value["f1", "c", ""] == 0.0
    assert value["macro_f1", "", ""] == pytest.approx((0.8 + 2 / 3) / 2), "a class that is never right has no say"
    assert {key[1:]: n for key, n in value.items() if key[0] == "confusion"} == {
        ("a", "a"): 2,
        ("a", "b"): 1,
        ("b", "b"): 1,
    }


def test_a_span_counts_only_as_a_whole() -> None:
    right = [[TextSpan(0, 3, "a"), TextSpan(4, 7, "b")], [TextSpan(0, 2, "a")]]
    predicted = [[TextSpan(0, 3, "a"), TextSpan(4, 6, "b")], []]
    value = {(f.metric, f.label): f.value for f in span_figures("m", right, predicted, ["a", "b"])}
    assert [value["precision", ""], value["recall", ""]] == pytest.approx([0.5, 1 / 3])
    assert [value["f1", "a"], value["f1", "b"]] == pytest.approx([2 / 3, 0.0])


def test_the_majority_is_the_first_by_name_of_equals_and_levels_have_an_error() -> None:
    assert majority(["b", "a", "a", "b"]) == "a"
    assert mean_level_error(MAJORITY, ["1", "4"], [2.0, 2.0]).value == 1.5
