"""Batches of users in Arrow → their texts in Arrow, in a worker."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa

from mmrec_lib.contracts.texts import RECOMMENDATION_TEXT
from mmrec_lib.encoders.weights.directory import local_directory
from mmrec_lib.generation.candidates import Bounds, Candidate, ChosenText, choose, template_candidates
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.generation.facts import Fact, FactRules, ItemFacts, SharedPath, UserFacts, pair_facts
from mmrec_lib.generation.names import NameRules
from mmrec_lib.generation.reasons import NoTextReason
from mmrec_lib.generation.templates import language_of
from mmrec_lib.generation.writer import ModelWriter, prompt_of
from mmrec_lib.scoring.catalogue import on_local_disk
from mmrec_lib.writing.items import ItemTable
from mmrec_lib.writing.vectors import TextVectors, UserNearness

TEXTS = RECOMMENDATION_TEXT.input_schema
"""One row a user and item."""
_IN_ARROW = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        ("language", pa.string()),
        ("text", pa.string()),
        (
            "facts",
            pa.list_(
                pa.struct(
                    [
                        ("kind", pa.string()),
                        ("values", pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))),
                    ]
                )
            ),
        ),
        ("grounding", pa.float64()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("input_hash", pa.int64()),
    ]
)
# Users whose texts are made at once.
_AT_ONCE = 2_000


@dataclass(frozen=True)
class WritingTask:
    """Settings of the tasks of a run.

    Attributes:
        uri: Folder with the facts of items, and vectors if any.
        config: Settings of texts.
        models_root: Where the language model lies.
        threads: Threads that it computes with.
        settings_hash: Hash of all that texts follow from besides the facts.
        alpha: Weight of the nearness to the history; None where the order of facts decides.
    """

    uri: str
    config: GenerationConfig
    models_root: str
    threads: int
    settings_hash: str
    alpha: float | None = None


def fact_rules(config: GenerationConfig) -> FactRules:
    """Bounds of facts as the settings have them."""
    names = NameRules(config.max_name_characters, config.blocked_words)
    return FactRules(names, config.min_reviews, config.min_share, frozenset(config.silent_categories))


def write_partition(batches: Iterator[pa.RecordBatch], task: WritingTask) -> Iterator[pa.RecordBatch]:
    """Texts of the users whose input has changed; a user whose `stored_hash` is that of the input gives no row.

    Columns of the batches: user_id, entries (rank, item_id, because_item_ids, path), num_items, top_categories,
    top_brands, price_quartiles, segment, language, history (item_id, weight), stored_hash.
    """
    for batch in batches:
        for start in range(0, batch.num_rows, _AT_ONCE):
            items, vectors = _load(task.uri)
            yield write_batch(batch.slice(start, _AT_ONCE), items, vectors, task)


@lru_cache(maxsize=1)
def _load(uri: str) -> tuple[ItemTable, TextVectors | None]:
    folder = on_local_disk(uri)
    return ItemTable.load(folder), TextVectors.load(folder)


@lru_cache(maxsize=1)
def _model(root: str, name: str, threads: int) -> ModelWriter:
    return ModelWriter(local_directory(root, name), threads)


def write_batch(
    batch: pa.RecordBatch, items: ItemTable, vectors: TextVectors | None, task: WritingTask
) -> pa.RecordBatch:
    """Texts of some users, see `write_partition`."""
    users = batch.to_pylist()
    known = items.facts(_items_of(users))
    nearness = _nearness(users, items, vectors, task)
    rows: list[dict[str, Any]] = []
    chosen: list[ChosenText | None] = []
    for user in users:
        input_hash = _input_hash(user, known, task)
        if user["stored_hash"] != input_hash:
            near = None if nearness is None else nearness(user["history"] or ())
            own = list(_texts_of(user, known, near, task))
            rows += [{**row, "input_hash": input_hash} for row, _ in own]
            chosen += [text for _, text in own]
    if task.config.model is not None:
        chosen = _worded(rows, chosen, _model(task.models_root, task.config.model, task.threads), task.config)
    for row, text in zip(rows, chosen, strict=True):
        if text is not None:
            row |= {
                "text": text.candidate.text,
                "facts": told_facts(text.candidate.facts),
                "grounding": text.grounding,
                "score": text.score,
                "source": text.candidate.source,
                "reason": None,
            }
    return pa.RecordBatch.from_pylist(rows, schema=_IN_ARROW)


def _nearness(
    users: list[dict[str, Any]], items: ItemTable, vectors: TextVectors | None, task: WritingTask
) -> Callable[[Sequence[Mapping[str, Any]]], UserNearness] | None:
    """Nearness to the history of each of some users; None where order decides."""
    if vectors is None or task.alpha is None:
        return None
    known = items.places_by_id(
        [*_items_of(users), *(entry["item_id"] for user in users for entry in user["history"] or ())]
    )
    return partial(vectors.of_user, places=known, alpha=task.alpha)


def told_facts(facts: tuple[Fact, ...]) -> list[dict[str, Any]]:
    """Facts as the tables have them."""
    return [
        {"kind": str(fact.kind), "values": [{"name": name, "value": value} for name, value in fact.values.items()]}
        for fact in facts
    ]


def _items_of(users: list[dict[str, Any]]) -> Iterator[str]:
    for user in users:
        for entry in user["entries"]:
            yield entry["item_id"]
            yield from entry["because_item_ids"] or ()
            if entry["path"] is not None:
                yield entry["path"]["item_id"]


def _input_hash(user: dict[str, Any], known: dict[str, ItemFacts], task: WritingTask) -> int:
    """Hash of all that a user's texts follow from."""
    own = {name: value for name, value in user.items() if name != "stored_hash"}
    items = [asdict(known[item]) for item in dict.fromkeys(_items_of([user])) if item in known]
    told = json.dumps([own, items, task.settings_hash], sort_keys=True, default=str)
    return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), "big", signed=True)


def _texts_of(
    user: dict[str, Any],
    known: dict[str, ItemFacts],
    near: UserNearness | None,
    task: WritingTask,
) -> Iterator[tuple[dict[str, Any], ChosenText | None]]:
    """A row without its text for each item of the list that is still there, and the text."""
    config, rules = task.config, fact_rules(task.config)
    language = language_of(user["language"], config.language)
    bounds = Bounds(language, config.max_characters, rules.names)
    about = _user_facts(user)
    told: Counter[tuple[str, ...]] = Counter()
    for entry in user["entries"]:
        item = known.get(entry["item_id"])
        if item is None:
            continue
        because = [known[one] for one in entry["because_item_ids"] or () if one in known]
        path = entry["path"]
        shared = (
            None if path is None or path["item_id"] not in known else SharedPath(known[path["item_id"]], path["node"])
        )
        facts = pair_facts(about, item, because, shared, language, rules)
        choice = None if near is None else near.to(item.item_id)
        seed = f"{user['user_id']} {item.item_id}"
        text = choose(template_candidates(facts, language, seed), told, bounds, choice)
        reason = NoTextReason.OUT_OF_BOUNDS if facts else NoTextReason.NO_FACTS
        yield (
            {
                "user_id": user["user_id"],
                "item_id": item.item_id,
                "rank": entry["rank"],
                "language": language,
                "facts": [],
                "reason": str(reason),
            },
            text,
        )


def _user_facts(user: dict[str, Any]) -> UserFacts:
    low, high = user["price_quartiles"] or (None, None)
    return UserFacts(
        num_items=user["num_items"] or 0,
        categories=[(one["name"], one["share"]) for one in user["top_categories"] or ()],
        brands=[(one["name"], one["share"]) for one in user["top_brands"] or ()],
        prices=None if low is None or high is None else (low, high),
        segment=user["segment"],
    )


def _worded(
    rows: list[dict[str, Any]], chosen: list[ChosenText | None], model: ModelWriter, config: GenerationConfig
) -> list[ChosenText | None]:
    """The texts with the model's words where these pass the check; else the template's stand."""
    names = fact_rules(config).names
    worded = list(chosen)
    asked = [place for place, text in enumerate(chosen) if text is not None]
    for start in range(0, len(asked), config.model_batch):
        places = asked[start : start + config.model_batch]
        known = [(place, text) for place in places if (text := chosen[place]) is not None]
        prompts = [prompt_of(text.candidate.facts, rows[place]["language"]) for place, text in known]
        for (place, text), written in zip(known, model.write(prompts), strict=True):
            candidate = Candidate(written, text.candidate.facts, model.source)
            bounds = Bounds(rows[place]["language"], config.max_characters, names)
            if bounds.grounding(candidate) == 1:
                worded[place] = ChosenText(candidate, 1.0, text.score)
    return worded
