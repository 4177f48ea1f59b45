from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.models.data import FitData, Interactions
from mmrec_lib.recipes.epochs import Course
from tests.benchmarks.adapted import (
    ADAPTED,
    ALL,
    COLUMNS,
    FROZEN,
    MEAN,
    NEW,
    SEEN,
    Encoded,
    Part,
    Run,
    item_texts,
    main,
    summary,
    train_behaviour,
)
from tests.benchmarks.quality.splits import Judge
from tests.unit.encoders.tiny_models import WORDS, make_text_model

KINDS = (("red", "boot", "warm"), ("blue", "dress", "soft"))
TINY = ["encoder=tiny-text", "batch_size=16", "max_tokens=16", "learning_rate=2e-3", "trained_layers=null"]


def write_store(folder: Path) -> None:
    """Texts with one word of their kind among others, and users who turn to one kind only."""
    rng = np.random.default_rng(0)
    others = [word for word in WORDS if word not in (*KINDS[0], *KINDS[1])]
    kinds = rng.integers(0, 2, 240)
    items = []
    for item, kind in enumerate(kinds):
        words = [str(word) for word in rng.choice(others, 8)]
        words.insert(int(rng.integers(9)), str(rng.choice(KINDS[kind])))
        items.append({"item_id": f"i{item:03d}", "title": words[0], "description": " ".join(words[1:])})
    events = [
        {"event_id": f"e{user}-{item}", "user_id": f"u{user}", "item_id": f"i{item:03d}", "ts": "1998-01-01T00:00:00Z"}
        for user in range(120)
        for item in rng.choice(np.flatnonzero(kinds == user % 2), 24, replace=False).tolist()
    ]
    (folder / "events").mkdir(parents=True)
    for name, records in (("items.jsonl", items), ("events/1998-01.jsonl", events)):
        (folder / name).write_text("\n".join(map(json.dumps, records)))


def test_a_text_is_the_fields_that_an_item_has_in_their_order(tmp_path: Path) -> None:
    items = [
        {"item_id": "a", "title": "Heat", "categories": ["Crime", "Drama"], "year": 1995, "description": None},
        {"item_id": "b", "title": None, "categories": []},
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    texts = item_texts(tmp_path, ["a", "b"], ["categories", "title", "year", "description"])
    assert texts == {"a": "Crime, Drama. Heat. 1995"}


def test_behaviour_has_items_with_events_of_train_alone() -> None:
    train = FitData(np.array(["a", "b", "c", "d"]), Interactions.from_rows([0, 0, 1], [0, 2, 3], (2, 4)))
    behaviour = train_behaviour({"a": "one", "b": "two", "c": "three"}, train, 0.1)
    assert behaviour.item_ids == ["a", "c"], "b has no events, d no text"
    np.testing.assert_array_equal(behaviour.visits.toarray()[0], [1, 1])


def test_kept_vectors_are_those_that_were_written(tmp_path: Path) -> None:
    before, after = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)
    encoded = Encoded(["a"], before, after, Course([0.5], [0.1, 0.2], 1), 2.5, 1.5)
    encoded.write(tmp_path / "vectors" / "draw0.npz")
    found = Encoded.read(tmp_path / "vectors" / "draw0.npz")
    assert (found.ids, found.course, found.minutes, found.processor_minutes) == (["a"], encoded.course, 2.5, 1.5)
    np.testing.assert_array_equal(found.before, before)
    np.testing.assert_array_equal(found.after, after)


def test_new_items_that_stand_too_high_are_told_apart_from_the_order_of_the_others() -> None:
    fitted = FitData(np.array(["a", "b", "c", "new"]), Interactions.from_rows([0, 1, 1], [0, 1, 2], (2, 4)))
    judge = Judge.of(fitted, Interactions.from_rows([0, 1], [1, 3], (2, 4)))
    part = Part(fitted, judge, np.zeros(4, bool))
    values = part.by_column(lambda users: np.tile(np.array([0, 2, 1, 9], np.float32), (len(users), 1)))
    second_place = 1 / np.log2(3)
    np.testing.assert_allclose(values[ALL][1], [second_place, 1.0], rtol=1e-6)
    np.testing.assert_allclose(values[SEEN][1], [1.0, 0.0], err_msg="the new item is no candidate, but still wanted")
    np.testing.assert_array_equal(values[NEW][0], [1])


def test_a_user_of_several_draws_counts_once_in_the_difference() -> None:
    def run(draw: int, users: list[int], frozen: list[float], adapted: list[float]) -> Run:
        values = {
            ("test", MEAN, name): dict.fromkeys((*COLUMNS, SEEN), of)
            for name, of in (
                (FROZEN, (np.array(users), np.array(frozen))),
                (ADAPTED, (np.array(users), np.array(adapted))),
            )
        }
        return Run(draw, 0, 1.0, 1.0, Course([], [0.0], 0), values)

    rows = summary([run(0, [1, 4], [0.1, 0.2], [0.2, 0.2]), run(1, [4], [0.4], [0.6])])
    (row,) = [row for row in rows if (row["column"], row["vectors"]) == (NEW, ADAPTED)]
    assert row["mean"] == pytest.approx((0.2 + 0.6) / 2), "of the means of two draws"
    assert row["num_users"] == 2
    assert row["difference"] == pytest.approx((0.1 + 0.1) / 2)
    assert [row["difference_low"], row["difference_high"]] == pytest.approx([0.1, 0.1])


def test_unknown_settings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--vectors", "v", "--json", "j", "--set", "epochs=3"])
    assert "settings are encoder, name, steps" in capsys.readouterr().err


@pytest.mark.slow
def test_new_items_are_found_better_where_behaviour_is_in_the_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_store(tmp_path / "store")
    (tmp_path / "tiny-text").mkdir()
    make_text_model(tmp_path / "tiny-text")
    command = ["--data", str(tmp_path / "store"), "--models", str(tmp_path), "--draws", "1"]
    command += ["--vectors", str(tmp_path / "vectors"), "--json", str(tmp_path / "adapted.json"), "--set", *TINY]
    command += [
        "max_epochs=14",
        "patience=14",
        "temperature=0.2",
        "shrinkage=1",
        "num_neighbours=20",
        "valid_share=0.2",
    ]
    assert main([*command, "--valid-only"]) == 0
    first = json.loads((tmp_path / "adapted.json").read_text())
    assert {row["part"] for row in first["rows"]} == {"valid"}
    (kept,) = (tmp_path / "vectors").glob("*.npz")
    changed = kept.stat().st_mtime_ns
    assert main(command) == 0
    assert kept.stat().st_mtime_ns == changed, "adapted once"
    told = json.loads((tmp_path / "adapted.json").read_text())
    assert [row for row in told["rows"] if row["part"] == "valid"] == first["rows"], "test changes nothing of it"
    (row,) = [
        row
        for row in told["rows"]
        if (row["part"], row["column"], row["method"], row["vectors"]) == ("test", NEW, MEAN, ADAPTED)
    ]
    assert row["difference_low"] > 0.05
    assert "draw 0, seed 0:" in capsys.readouterr().out
