"""Examples of a recipe: labels with their contents, checked and divided into train, valid and test."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.config import RecipeConfig

PARTS = ("train", "valid", "test")
_SHOWN = 3


@dataclass(frozen=True)
class TextSpan:
    """A part of a text with its label.

    Attributes:
        start: First character.
        end: End, exclusive.
        label: What it is.
    """

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Example:
    """One labelled content, or one that is to be judged.

    Attributes:
        id: Identity of the label, or of what is judged.
        text: The words.
        other: The second text of a pair, else None.
        image: `[dim] float32` (a vector) or `[3, px, px] uint8`, or None where there is no image.
        image_id: Identity of the image.
        label: Class; None for a tagger and where it is to be predicted.
        spans: Parts of the text, for a tagger.
        split: train, valid or test; None lets the recipe choose.
    """

    id: str
    text: str
    other: str | None = None
    image: npt.NDArray[Any] | None = field(default=None, repr=False, compare=False)
    image_id: str | None = None
    label: str | None = None
    spans: tuple[TextSpan, ...] = ()
    split: str | None = None

    @property
    def content(self) -> tuple[str, str | None, str | None]:
        """Content as a network sees it: examples that share it cannot be told apart."""
        return self.text, self.other, self.image_id

    @property
    def answer(self) -> str | tuple[TextSpan, ...] | None:
        """The answer that is to be learned."""
        return self.spans if self.label is None else self.label


@dataclass(frozen=True)
class ExampleParts:
    """Examples that passed the checks.

    Attributes:
        train: Examples that weights are fitted on.
        valid: Examples that choose the epoch.
        test: Examples that are read once.
        labels: Classes; of a tagger the labels of its spans. Sorted, whole numbers by value.
        num_contradicting: Examples that were left out because most of the same content say something else.
    """

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    num_contradicting: int

    def part(self, name: str) -> tuple[Example, ...]:
        """Examples of train, valid or test."""
        examples: tuple[Example, ...] = getattr(self, name)
        return examples


def divide_examples(examples: Sequence[Example], config: RecipeConfig) -> ExampleParts:
    """Check examples and divide them; equal contents are in one part.

    Where labels name no split, a hash of the content chooses, so that a label more moves no other.

    Raises:
        RecipeError: When there are too few, they know one class only, contradict each other, have spans outside their
            text, leave a part empty, or some rating levels of a pair are no numbers.
    """
    where = f"Recipe `{config.name}`, task `{config.task}`"
    if len(examples) < config.min_examples:
        raise RecipeError(
            f"{where}: at least {config.min_examples} labelled examples with a content are needed "
            f"(recipe.min_examples), got {len(examples)}. Deliver labels/{config.task}.jsonl with more."
        )
    _check_form(examples, config, where)
    agreed, num_contradicting = _without_contradictions(examples)
    if num_contradicting > config.max_contradictions * len(examples):
        raise RecipeError(
            f"{where}: labels of one content must agree, but {num_contradicting} of {len(examples)} contradict others "
            f"(recipe.max_contradictions = {config.max_contradictions:g}), such as "
            f"{'; '.join(_contradictions(examples))}. Correct them and deliver them with a later updated_at."
        )
    divided = [replace(one, split=one.split or _split(one, config)) for one in agreed]
    parts = {name: tuple(one for one in divided if one.split == name) for name in PARTS}
    empty = [name for name in PARTS if not parts[name]]
    if empty:
        raise RecipeError(
            f"{where}: examples in train, valid and test are needed, but {', '.join(empty)} has none. Name a `split` "
            "for all labels or for none."
        )
    labels = label_names(parts["train"])
    least = 1 if config.kind == "tagger" else 2
    if len(labels) < least:
        raise RecipeError(
            f"{where}: at least {least} different labels are needed in train, got "
            f"{', '.join(labels) or 'none'} only: there is nothing to tell apart."
        )
    if config.kind == "pair" and are_levels(labels):
        _check_levels([*parts["valid"], *parts["test"]], where)
    return ExampleParts(parts["train"], parts["valid"], parts["test"], labels, num_contradicting)


def label_names(examples: Sequence[Example]) -> tuple[str, ...]:
    """Different labels of examples: whole numbers by value, else by name."""
    found = {one.label for one in examples if one.label is not None}
    found |= {span.label for one in examples for span in one.spans}
    return tuple(sorted(found, key=(lambda label: (int(label), label)) if are_levels(found) else None))


def are_levels(labels: Iterable[str]) -> bool:
    """Tell if all labels are whole numbers, such as rating levels."""
    return all(re.fullmatch(r"-?\d+", label) for label in labels)


def _check_form(examples: Sequence[Example], config: RecipeConfig, where: str) -> None:
    """Raise when labels are spans where classes are needed, or the other way round, or spans leave their text."""
    is_tagger = config.kind == "tagger"
    wrong = [one for one in examples if (one.label is None) != is_tagger]
    if wrong:
        needed, got = ("spans", "classes") if is_tagger else ("classes", "spans")
        raise RecipeError(f"{where}: {needed} are needed by kind {config.kind}, but {len(wrong)} labels are {got}.")
    outside = [one for one in examples if any(span.end > len(one.text) for span in one.spans)]
    if outside:
        shown = ", ".join(f"{one.id} ({len(one.text)} characters)" for one in outside[:_SHOWN])
        raise RecipeError(
            f"{where}: spans in their texts are needed, but those of {len(outside)} labels end outside, such as "
            f"{shown}. Deliver the labelled `text` with them, or label the text that the store has now."
        )


def _check_levels(examples: Sequence[Example], where: str) -> None:
    """Raise when labels of valid or test are no rating levels, as those of train are: they have no error to measure."""
    wrong = [one for one in examples if not are_levels([str(one.label)])]
    if wrong:
        shown = ", ".join(f"{one.id} (`{one.label}`, {one.split})" for one in wrong[:_SHOWN])
        raise RecipeError(
            f"{where}: whole numbers are needed as all labels, because those of train are, but {len(wrong)} are none, "
            f"such as {shown}. Correct them and deliver them with a later updated_at."
        )


def _without_contradictions(examples: Sequence[Example]) -> tuple[list[Example], int]:
    """Examples whose answer is the most frequent of their content, and the number of the others."""
    answers = defaultdict[Any, Counter[Any]](Counter)
    for one in examples:
        answers[one.content][one.answer] += 1
    most = {content: counts.most_common(1)[0][1] for content, counts in answers.items()}
    # Of a tie none counts: nobody can say which is right.
    wins = {
        content: [answer for answer, count in counts.items() if count == most[content]]
        for content, counts in answers.items()
    }
    agreed = [one for one in examples if wins[one.content] == [one.answer]]
    return agreed, len(examples) - len(agreed)


def _contradictions(examples: Sequence[Example]) -> list[str]:
    answers = defaultdict[Any, dict[Any, str]](dict)
    for one in examples:
        answers[one.content].setdefault(one.answer, one.id)
    return [" and ".join(ids.values()) for ids in answers.values() if len(ids) > 1][:_SHOWN]


def _split(one: Example, config: RecipeConfig) -> str:
    digest = hashlib.sha256("\x1f".join(part or "" for part in one.content).encode("utf-8", "replace")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < config.test_share:
        return "test"
    return "valid" if place < config.test_share + config.valid_share else "train"
