"""Adapting an encoder: behaviour as a graph, adapters that merge away, and items that behave alike coming close."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mmrec_lib.recipes.behaviour as behaviour_module
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.text.sentence_layout import SentenceLayout
from mmrec_lib.encoders.weights.directory import directory_revision
from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.behaviour import Behaviour, add_pairs, co_visits, gain_interval, make_behaviour, recalls
from mmrec_lib.recipes.encoder_directory import MARKER
from mmrec_lib.recipes.lora import LoraLinear
from tests.unit.encoders.tiny_models import WORDS, make_text_model

KINDS = (("red", "boot", "warm"), ("blue", "dress", "soft"))
FAST = {"encoder": "tiny-text", "name": "tiny-store", "batch_size": 16, "max_tokens": 16, "learning_rate": 2e-2}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny-text"
    directory.mkdir()
    make_text_model(directory)
    return directory


def adapter_of(directory: Path, **changes: object) -> TextAdapter:
    return TextAdapter(directory, AdaptationConfig.model_validate({**FAST, **changes}), SentenceLayout())


def planted(num_items: int = 240, num_users: int = 120) -> Behaviour:
    """Each item has one word of its kind among others, and each user turns to one kind only."""
    rng = np.random.default_rng(0)
    others = [word for word in WORDS if word not in (*KINDS[0], *KINDS[1])]
    kinds = rng.integers(0, 2, num_items)
    texts = {}
    for n in range(num_items):
        words = [str(word) for word in rng.choice(others, 8)]
        words.insert(int(rng.integers(9)), str(rng.choice(KINDS[kinds[n]])))
        texts[f"i{n:03d}"] = " ".join(words)
    visits = []
    for user in range(num_users):
        liked = rng.choice(np.flatnonzero(kinds == user % 2), 24, replace=False)
        visits += [(f"u{user}", f"i{item:03d}") for item in liked]
    return make_behaviour(texts, visits, 0.2, 0.25)


def test_items_of_valid_and_test_take_no_part_in_the_graph() -> None:
    behaviour = planted()
    graph = co_visits(behaviour, 10, 1.0)
    train = set(behaviour.items("train").tolist())
    rows, columns = graph.nonzero()
    assert set(rows.tolist()) | set(columns.tolist()) <= train
    assert np.diff(graph.indptr).max() <= 10
    np.testing.assert_allclose(graph.sum(axis=1)[sorted(set(rows.tolist()))], 1.0, rtol=1e-5)


def test_weights_of_two_items_are_their_shrunk_cosine() -> None:
    texts = {"a": "x", "b": "y", "c": "z"}
    visits = [("u1", "a"), ("u1", "b"), ("u2", "a"), ("u2", "b"), ("u2", "c"), ("u2", "c")]
    behaviour = make_behaviour(texts, visits, 1e-9, 1e-9)
    graph = co_visits(behaviour, 10, 1.0).toarray()
    to_b, to_c = 1.0 * 2 / 3, 1 / np.sqrt(2) * 1 / 2
    np.testing.assert_allclose(graph[0], [0, to_b / (to_b + to_c), to_c / (to_b + to_c)], rtol=1e-5)


def test_variants_of_one_text_are_in_one_part() -> None:
    texts = {f"i{n:03d}": f"text {n // 4}" for n in range(200)}
    behaviour = make_behaviour(texts, [("u", "i000")], 0.2, 0.2)
    assert set(behaviour.parts.tolist()) == {0, 1, 2}
    assert all(len(set(four)) == 1 for four in behaviour.parts.reshape(-1, 4).tolist())


def test_blocks_of_items_give_the_graph_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    behaviour = planted()
    whole = co_visits(behaviour, 10, 1.0)
    monkeypatch.setattr(behaviour_module, "_ROWS_TOGETHER", 7)
    assert (whole != co_visits(behaviour, 10, 1.0)).nnz == 0


def test_searches_and_reviews_are_tied_to_their_item_both_ways() -> None:
    behaviour = make_behaviour({"a": "x", "b": "y"}, [("u", "a"), ("u", "b")], 1e-9, 1e-9)
    graph, texts = add_pairs(co_visits(behaviour, 5, 0.0), behaviour.contents, [("words", 1)], 0.5)
    assert texts == ["x", "y", "words"]
    np.testing.assert_allclose(graph.toarray(), [[0, 1, 0], [1, 0, 0.5], [0, 0.5, 0]])


def test_recall_is_that_of_the_best_of_the_part_alone() -> None:
    behaviour = planted()
    is_first = np.array([bool(set(text.split()) & set(KINDS[0])) for text in behaviour.contents])
    perfect = np.stack([is_first, ~is_first], axis=1).astype(np.float32)
    k = int(min(is_first[behaviour.items("test")].sum(), (~is_first)[behaviour.items("test")].sum()))
    assert recalls(behaviour, perfect, "test", len(behaviour.items("test"))).min() == 1.0
    assert (
        recalls(behaviour, perfect, "test", k).mean() > 1.5 * recalls(behaviour, perfect[:, ::-1] * 0, "test", k).mean()
    )


def test_an_adapter_is_nothing_at_first_and_merges_into_the_layer() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4), torch.randn(3, 6)
    before = layer(x).detach()
    adapter = LoraLinear(layer, 2, 2.0)
    torch.testing.assert_close(adapter(x), before)
    with torch.no_grad():
        adapter.up.normal_()
    changed = adapter(x).detach()
    assert not torch.allclose(changed, before)
    torch.testing.assert_close(adapter.merged()(x), changed)


@pytest.mark.slow
def test_the_adapted_encoder_finds_more_of_items_it_has_not_seen(encoder: Path, tmp_path: Path) -> None:
    behaviour = planted()
    adapter = adapter_of(encoder, trained_layers=None, max_epochs=14, patience=14, learning_rate=2e-3, temperature=0.2)
    adapter.read(behaviour.contents)
    items = range(len(behaviour.contents))
    before = recalls(behaviour, adapter.encode(items), "test", 10)
    course = adapter.fit(
        co_visits(behaviour, 20, 1.0), lambda: float(recalls(behaviour, adapter.encode(items), "valid", 10).mean())
    )
    vectors = adapter.encode(items)
    low, _ = gain_interval(before, recalls(behaviour, vectors, "test", 10), 0)
    assert course.best_epoch > 0 and course.scores[course.best_epoch] == max(course.scores)
    assert low > 0.02
    adapter.save(tmp_path / "tiny-store")
    assert directory_revision(tmp_path / "tiny-store") != directory_revision(encoder)
    models = ModelsConfig.model_validate(
        {
            "root": str(tmp_path),
            "encoders": {"tiny-store": {"kind": "text", "dtype": "float32"}},
            "backend": "torch",
        }
    )
    loaded = make_encoder(models.encoders["tiny-store"], models)
    loaded.load()
    cosines = (loaded.encode(behaviour.contents[:20]).vectors * vectors[:20]).sum(axis=1)
    assert cosines.min() > 0.9999, "the encoders of the pipeline read the directory as any other"


def test_an_adaptation_replaces_an_earlier_one_whole_and_nothing_else(encoder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(encoder, base)
    (base / "model.onnx").write_bytes(b"x")
    (base / "mmrec.json").write_text("{}")
    adapter, target = adapter_of(base), tmp_path / "tiny-store"
    adapter.save(target)
    files = {path.name for path in target.iterdir()}
    assert files == {path.name for path in encoder.iterdir()} | {MARKER}
    revision = directory_revision(target)
    (target / "left.safetensors").write_bytes(b"x")
    (target / "left").mkdir()
    (target / "left" / "over.bin").write_bytes(b"x")
    adapter_of(base).save(target)
    assert {path.name for path in target.iterdir()} == files
    assert directory_revision(target) == revision
    with pytest.raises(RecipeError, match=r"got something else in .*base.*Choose another adaptation\.name"):
        adapter.save(base)
    assert (base / "model.onnx").exists()


def test_the_same_seed_gives_the_same_encoder(encoder: Path) -> None:
    behaviour = planted(80, 40)
    found = []
    for _ in range(2):
        adapter = TextAdapter(
            encoder, AdaptationConfig.model_validate({**FAST, "max_epochs": 1, "trained_layers": 1}), SentenceLayout()
        )
        adapter.read(behaviour.contents)
        adapter.fit(co_visits(behaviour, 20, 1.0), iter([0.0, 1.0]).__next__)
        found.append(adapter.encode(range(20)))
    np.testing.assert_array_equal(found[0], found[1])


def test_an_encoder_that_got_no_better_ends_as_it_was(encoder: Path) -> None:
    behaviour = planted(80, 40)
    adapter = TextAdapter(
        encoder, AdaptationConfig.model_validate({**FAST, "max_epochs": 3, "patience": 1}), SentenceLayout()
    )
    adapter.read(behaviour.contents)
    before = adapter.encode(range(20))
    course = adapter.fit(co_visits(behaviour, 20, 1.0), iter([1.0, 0.5]).__next__)
    assert (course.best_epoch, len(course.losses)) == (0, 1)
    np.testing.assert_array_equal(adapter.encode(range(20)), before)


def test_too_little_behaviour_and_unsafe_directories_are_refused(encoder: Path, tmp_path: Path) -> None:
    adapter = adapter_of(encoder)
    few = make_behaviour({"a": "red", "b": "blue"}, [("u", "a"), ("u", "b")], 1e-9, 1e-9)
    adapter.read(few.contents)
    with pytest.raises(RecipeError, match="at least 16 texts with a neighbour are needed"):
        adapter.fit(co_visits(few, 5, 0.0), lambda: 0.0)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(RecipeError, match="pickles"):
        adapter_of(tmp_path)
