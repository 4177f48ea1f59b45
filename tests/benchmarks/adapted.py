"""New items found by texts alone, with an encoder as it was and one adapted to behaviour, on P3.

    python -m tests.benchmarks.adapted --data <ml-100k-mm> --draws 3 --seeds 0 --vectors <folder> --json <file>

P3 (`tests.benchmarks.protocols`): in each draw 17 % of the items are hidden. The encoder is adapted on the train part,
where neither the hidden items nor those that validation holds back have any events; a share of the train items chooses
its epoch. Then all items are encoded by both encoders, and each is ranked with by the same methods: the first stage of
the ranker with these vectors as its only content, its settings searched on validation and fitted anew on train and
valid; the mean cosine with the nearest items of a history, their number chosen on validation; and the mean vector of a
history. `both` has the vectors of both encoders as two blocks. `--everything` adds the ranker with the attributes of
the store beside them. nDCG@10 of all items is also told without the new ones among the candidates: it says if a loss
comes from the order of the others, or from how high new ones stand among them.

`--set` changes settings of the adaptation. `--valid-only` leaves test unread: use it to try settings. Values of several
draws and seeds are averaged by user before users are resampled for the intervals.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.evaluation.significance import mean_intervals
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Content, FitData, Floats, Histories
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.behaviour import Behaviour, Comparison, co_visits, make_behaviour, recalls
from mmrec_lib.recipes.epochs import Course
from tests.benchmarks.baselines.counting import CONTENT_KNN
from tests.benchmarks.baselines.reference import Scores, with_popularity
from tests.benchmarks.quality.splits import PROTOCOLS, Judge, Split, split_store
from tests.benchmarks.quality.summary import NUM_BOOTSTRAP, pool
from tests.benchmarks.store_arrays import StoreArrays, read_store

PROTOCOL = PROTOCOLS["P3"]
FIELDS = ("title", "categories", "description")
FROZEN, ADAPTED, BOTH = "frozen", "adapted", "both"
KNN, MEAN, RANKER, EVERYTHING = "content kNN", "mean vector", "ranker", "ranker with attributes"
NEW, NEW_IN_ALL, ALL = "new items, recall@20", "new items among all, recall@20", "all items, ndcg@10"
SEEN = "all items, new ones not ranked, ndcg@10"
COLUMNS = {NEW: ("new_items", "recall@20"), NEW_IN_ALL: ("new_items_in_all", "recall@20"), ALL: ("all", "ndcg@10")}
TOLD = (NEW, ALL, SEEN)

Values = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Positions of users and a value of each, by column."""


@dataclass(frozen=True)
class Run:
    """One draw with one seed.

    Attributes:
        draw: Draw of the hidden items.
        seed: Seed of the adaptation.
        minutes: See `Encoded`.
        processor_minutes: See `Encoded`.
        course: Course of the training.
        values: By part (valid, test), method and vectors.
    """

    draw: int
    seed: int
    minutes: float
    processor_minutes: float
    course: Course
    values: Mapping[tuple[str, str, str], Values]


def item_texts(data: Path, item_ids: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """Text of each item that has one: its fields in their order, those that it lacks left out."""
    lines = (data / "items.jsonl").read_text(encoding="utf-8").splitlines()
    records = {str(record["item_id"]): record for record in map(json.loads, lines)}
    texts = {
        item_id: ". ".join(filter(None, (_words(records[item_id], field) for field in fields))) for item_id in item_ids
    }
    return {item_id: text for item_id, text in texts.items() if text}


def _words(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def train_behaviour(texts: Mapping[str, str], train: FitData, valid_share: float) -> Behaviour:
    """Behaviour of the train part; items without an event in it are not in it."""
    known = np.flatnonzero(train.interactions.item_counts() > 0)
    of_known = {str(item): texts[item] for item in train.item_ids[known] if item in texts}
    visits = train.interactions.weights.tocoo()
    pairs = ((str(user), str(train.item_ids[item])) for user, item in zip(visits.row, visits.col, strict=True))
    return make_behaviour(of_known, pairs, valid_share, 0.0)


@dataclass(frozen=True)
class Encoded:
    """Vectors of the items by both encoders.

    Attributes:
        ids: Items, those that behaviour was read of first.
        before: `[num_items, D]` by the encoder as it was.
        after: `[num_items, D]` by the adapted one.
        course: Course of the training.
        minutes: Minutes of the clock that adaptation took, with reading the texts and choosing the epoch.
        processor_minutes: The same of the processor.
    """

    ids: list[str]
    before: Floats
    after: Floats
    course: Course
    minutes: float
    processor_minutes: float

    def write(self, path: Path) -> None:
        """Write whole or not at all."""
        told = {"course": asdict(self.course), "minutes": self.minutes, "processor_minutes": self.processor_minutes}
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".tmp")
        with staging.open("wb") as file:
            np.savez(
                file, ids=np.array(self.ids), before=self.before, after=self.after, told=np.array(json.dumps(told))
            )
        staging.replace(path)

    @classmethod
    def read(cls, path: Path) -> Encoded:
        """Read what `write` wrote."""
        with np.load(path) as found:
            told = json.loads(str(found["told"]))
            course = Course(**told.pop("course"))
            return cls(found["ids"].tolist(), found["before"], found["after"], course, **told)


def encode(directory: Path, config: AdaptationConfig, behaviour: Behaviour, others: Mapping[str, str]) -> Encoded:
    """Adapt an encoder to behaviour, and encode with it and with the encoder as it was.

    Args:
        directory: The encoder.
        config: How it is adapted; behaviour is the only step.
        behaviour: What it learns from, and the items that choose the epoch.
        others: Texts of items that it does not learn from.
    """
    clock, processor = time.monotonic(), time.process_time()
    base = encoder_config(id=config.encoder, kind="text")
    assert isinstance(base, TextConfig)
    adapter = TextAdapter(directory, config, sentence_layout(base, directory))
    texts = [*behaviour.contents, *others.values()]
    adapter.read(texts)
    before = adapter.encode(range(len(texts)))
    known = range(len(behaviour.contents))
    graph = co_visits(behaviour, config.num_neighbours, config.shrinkage)
    course = adapter.fit(graph, lambda: float(recalls(behaviour, adapter.encode(known), "valid", config.k).mean()))
    after = adapter.encode(range(len(texts)))
    minutes, of_processor = (time.monotonic() - clock) / 60, (time.process_time() - processor) / 60
    return Encoded([*behaviour.item_ids, *others], before, after, course, minutes, of_processor)


def in_catalogue(vectors: Floats, ids: Sequence[str], item_ids: np.ndarray, name: str) -> Content:
    """A block of content from vectors of some items; the others have none."""
    place = {item: number for number, item in enumerate(item_ids)}
    matrix = np.zeros((len(item_ids), vectors.shape[1]), np.float32)
    matrix[[place[item] for item in ids]] = vectors
    return Content.from_vectors(f"text:{name}", matrix)


def blocks_of(encoded: Mapping[str, Content]) -> dict[str, dict[str, Content]]:
    """Blocks of content of each kind of vectors to compare."""
    single = {name: {content.name: content} for name, content in encoded.items()}
    return {**single, BOTH: {content.name: content for content in encoded.values()}}


def _with(split: Split, contents: Mapping[str, Content]) -> Split:
    fits = {name: replace(data, contents=contents) for name, data in split.fits.items()}
    return replace(split, train=replace(split.train, contents=contents), fits=fits)


@dataclass(frozen=True)
class Part:
    """A part that rankings are read on.

    Attributes:
        data: What is fitted for it.
        judge: Its users and what they turned to.
        hidden: [I] items that are no candidates: on validation those that test hides.
    """

    data: FitData
    judge: Judge
    hidden: np.ndarray

    def by_column(self, score: Scores) -> Values:
        """Values by user of each column, and of `SEEN`."""

        def without(left_out: np.ndarray) -> Mapping[str, Mapping[str, np.ndarray]]:
            return self.judge.by_user(lambda users: np.where(left_out, np.float32(-np.inf), score(users)))

        found, is_new = without(self.hidden), self.data.interactions.item_counts() == 0
        values = {
            column: (found[segment]["users"], found[segment][metric]) for column, (segment, metric) in COLUMNS.items()
        }
        seen = without(self.hidden | is_new)["all"]
        return {**values, SEEN: (seen["users"], seen["ndcg@10"])}


class Measurement:
    """Values of rankings on the parts of a split that may be read."""

    def __init__(self, split: Split, with_test: bool) -> None:
        self._split, self._with_test = split, with_test
        self.values = dict[tuple[str, str, str], Values]()
        self._chosen: RankerSettings | None = None

    def _parts(self, split: Split) -> dict[str, Part]:
        whole = split.fits["fit2"]
        is_hidden = whole.interactions.item_counts() == 0
        found = {"valid": Part(split.train, Judge.of(split.train, split.valid), is_hidden)}
        if self._with_test:
            found["test"] = Part(whole, Judge.of(whole, split.test), np.zeros_like(is_hidden))
        return found

    def ranker(self, method: str, name: str, contents: Mapping[str, Content]) -> None:
        """The first stage of the ranker, its settings searched on validation."""
        split = _with(self._split, contents)
        config = TrainingConfig(seed=split.seed)
        settings = choose_settings(split.train, split.valid, config, self._chosen)
        self._chosen = self._chosen or settings
        for number, part in self._parts(split).items():
            model, histories = fit_ranker(part.data, settings), part.data.histories()
            self.values[number, method, name] = part.by_column(_of_histories(model, histories))

    def neighbours(self, name: str, contents: Mapping[str, Content]) -> None:
        """Content kNN, its neighbours chosen by the recall of validation's new items; and the mean vector."""
        split = _with(self._split, contents)
        parts = self._parts(split)

        def value(score: Scores) -> float:
            return float(parts["valid"].by_column(score)[NEW][1].mean())

        settings, _ = CONTENT_KNN.choose(split.train, value, len(CONTENT_KNN.grids["neighbors"]), split.seed)
        for number, part in parts.items():
            score = CONTENT_KNN.fit(part.data, settings, split.seed)
            self.values[number, KNN, name] = part.by_column(score)
            self.values[number, MEAN, name] = part.by_column(_of_means(part.data))


def _of_histories(model: FittedRanker, histories: Histories) -> Scores:
    return lambda users: model.score(histories.rows(users))


def _of_means(data: FitData) -> Scores:
    """Scores by the mean of the vectors of a history."""
    matrix = np.hstack([np.asarray(content.matrix) for content in data.contents.values()])
    visits = (data.interactions.weights > 0).astype(np.float32)
    return with_popularity(data, lambda users: (visits[users] @ matrix) @ matrix.T)


def measure(store: StoreArrays, draw: int, seed: int, options: argparse.Namespace) -> Run:
    """Adapt, encode, rank."""
    config = AdaptationConfig.model_validate({"seed": seed, **dict(options.set)})
    split = split_store(store, PROTOCOL, draw)
    texts = item_texts(options.data, [str(item) for item in store.item_ids], options.fields)
    behaviour = train_behaviour(texts, split.train, config.valid_share)
    learned = set(behaviour.item_ids)
    others = {item: text for item, text in texts.items() if item not in learned}
    digest = hashlib.sha256(json.dumps([config.model_dump(mode="json"), options.fields]).encode()).hexdigest()[:12]
    path = options.vectors / f"draw{draw}-seed{seed}-{digest}.npz"
    if path.exists():
        found = Encoded.read(path)
    else:
        found = encode(options.models / config.encoder, config, behaviour, others)
        found.write(path)
    print(
        f"draw {draw}, seed {seed}: {found.minutes:.1f} minutes, {found.processor_minutes:.1f} of the processor; "
        f"validation {', '.join(f'{score:.4f}' for score in found.course.scores)}; epoch {found.course.best_epoch}",
        flush=True,
    )
    encoded = {
        name: in_catalogue(vectors, found.ids, store.item_ids, name)
        for name, vectors in ((FROZEN, found.before), (ADAPTED, found.after))
    }
    measurement = Measurement(split, not options.valid_only)
    for name, contents in blocks_of(encoded).items():
        measurement.neighbours(name, contents)
        measurement.ranker(RANKER, name, contents)
        if options.everything:
            measurement.ranker(EVERYTHING, name, {**store.contents, **contents})
    return Run(draw, seed, found.minutes, found.processor_minutes, found.course, measurement.values)


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row each part, column, method and vectors: mean, spread over runs, difference from the frozen ones by user."""
    rows = []
    for part, method, name in runs[0].values:
        for column in (*COLUMNS, SEEN):
            own = [run.values[part, method, name][column] for run in runs]
            frozen = [run.values[part, method, FROZEN][column] for run in runs]
            means = [float(values.mean()) for _, values in own]
            (_, pooled), (_, of_frozen) = pool(own), pool(frozen)
            (low,), (high,) = mean_intervals(pooled[:, None], NUM_BOOTSTRAP, 0)
            row = {
                "part": part, "column": column, "method": method, "vectors": name, "mean": float(np.mean(means)),
                "deviation": float(np.std(means)), "low": float(low), "high": float(high), "num_users": len(pooled),
            }  # fmt: skip
            if name != FROZEN:
                compared = Comparison.of(of_frozen, pooled, 0)
                row |= {
                    "difference": float((pooled - of_frozen).mean()),
                    "difference_low": compared.diff_low,
                    "difference_high": compared.diff_high,
                }
            rows.append(row)
    return rows


def report(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print the rows."""
    for row in rows:
        told = f"{row['part']:5s} {row['column']:30s} {row['method']:22s} {row['vectors']:8s} "
        told += f"{row['mean']:.4f} ± {row['deviation']:.4f}"
        if "difference" in row:
            told += f"  {row['difference']:+.4f} [{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]"
        print(told, flush=True)


def _setting(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or key not in AdaptationConfig.model_fields:
        raise argparse.ArgumentTypeError(
            f"KEY=VALUE with a setting of the section adaptation is needed, got `{text}`; settings are "
            f"{', '.join(AdaptationConfig.model_fields)}"
        )
    return key, yaml.safe_load(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.adapted", description=__doc__.split(":")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder ml-100k-mm")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the encoders")
    parser.add_argument("--draws", type=int, default=len(PROTOCOL.seeds), help="draws of hidden items, from 0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the adaptation")
    parser.add_argument("--fields", nargs="+", default=list(FIELDS), help="fields of an item that are one text")
    parser.add_argument("--set", type=_setting, nargs="*", default=[], help="settings of adaptation, KEY=VALUE")
    parser.add_argument("--everything", action="store_true", help="the ranker with the store's attributes as well")
    parser.add_argument("--valid-only", action="store_true", help="do not read test")
    parser.add_argument(
        "--vectors", type=Path, required=True, help="keeps vectors, so that a run goes on where it ended"
    )
    parser.add_argument("--json", type=Path, required=True, help="file that the figures are written to")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    store = read_store(options.data)
    runs: list[Run] = []
    for draw in range(options.draws):
        for seed in options.seeds:
            runs.append(measure(store, draw, seed, options))
            rows = summary(runs)
            told = {
                "fields": options.fields,
                "settings": {key: value for key, value in options.set},
                "runs": [{name: value for name, value in asdict(one).items() if name != "values"} for one in runs],
                "rows": rows,
            }
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            report(row for row in summary(runs[-1:]) if row["column"] in TOLD)
    print(f"{len(runs)} runs")
    report(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
