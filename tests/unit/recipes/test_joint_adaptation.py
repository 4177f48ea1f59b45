"""Adapting a joint encoder: texts and images that behave alike come close, and what an item lacks is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.errors import ConfigError, RecipeError
from mmrec_lib.fine_tuning.adaptation import adapted_encoder
from mmrec_lib.fine_tuning.encoder_gate import RECALL, EncoderGate, refusal
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapt_image import Images
from mmrec_lib.recipes.adapt_joint import JointAdapter
from mmrec_lib.recipes.behaviour import (
    Behaviour,
    Comparison,
    co_visits,
    groups_of_items,
    make_behaviour,
    recalls,
)
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.cross_modal import IMAGE_TO_TEXT, TEXT_TO_IMAGE, cross_modal_hits
from mmrec_lib.recipes.lora import merge_adapters
from tests.unit.encoders.tiny_models import make_text_model
from tests.unit.encoders.tiny_vision import clip, make_vision_model, resnet, siglip
from tests.unit.recipes.test_image_adaptation import as_png

FAST = {"encoder": "tiny-joint", "name": "tiny-store", "batch_size": 16, "k": 10, "temperature": 0.2}
PLANTED = {"trained_layers": None, "max_epochs": 6, "patience": 6}
OTHER_WORDS = ("green", "shoe", "dress", "cheap", "fine", "old", "new", "city", "river", "stone")
CROSS_MODAL = (TEXT_TO_IMAGE, IMAGE_TO_TEXT)


@dataclass(frozen=True)
class Shown:
    """Items of a shop: what people turned to, texts and images of the items."""

    behaviour: Behaviour
    texts: list[str | None]
    images: Images

    @property
    def items(self) -> range:
        return range(len(self.texts))

    @property
    def held_out(self) -> list[int]:
        return [int(item) for item in self.behaviour.items("test")]


def shown(num_items: int = 200, num_users: int = 80, *, is_told: bool = True, num_lacking: int = 15) -> Shown:
    """Items of two hues and two shades, which one word of their text each tells, and the looks of their image.

    Users turn to one hue, which is faint; the shade is strong and says nothing of them. Some of the first items have no
    image, and some of the last no text.
    """
    rng = np.random.default_rng(0)
    hues, shades = rng.integers(0, 2, num_items), rng.integers(0, 2, num_items)
    pixels = rng.integers(90, 160, (num_items, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    pixels += np.where(shades == 0, 60, -60)[:, None, None, None]
    pixels[..., 1] += rng.integers(-40, 41, (num_items, 1, 1))
    pixels[..., 0] += np.where(hues == 0, 10, -10)[:, None, None]
    pixels[..., 2] += np.where(hues == 1, 10, -10)[:, None, None]
    texts = list[str | None]()
    for hue, shade in zip(hues, shades, strict=True):
        words = [str(word) for word in rng.choice(OTHER_WORDS, 4)]
        words.insert(int(rng.integers(5)), ("red", "blue")[hue])
        words.insert(int(rng.integers(6)), ("light", "warm")[shade])
        texts.append(" ".join(words))
    visits = []
    for user in range(num_users):
        pool = np.flatnonzero(hues == user % 2) if is_told else np.arange(num_items)
        visits += [(f"u{user}", f"i{item:03d}") for item in rng.choice(pool, min(24, len(pool)), replace=False)]
    rows = np.arange(num_items)
    rows[:num_lacking] = -1
    texts[num_items - num_lacking :] = [None] * num_lacking
    pixels[:num_lacking] = 0
    contents = {f"i{n:03d}": text or f"image {n}" for n, text in enumerate(texts)}
    behaviour = make_behaviour(contents, visits, 0.2, 0.25)
    return Shown(behaviour, texts, Images(pixels.clip(0, 255).astype(np.uint8), rows))


def config_of(**changes: object) -> AdaptationConfig:
    return AdaptationConfig.model_validate({**FAST, **changes})


def adapter_of(directory: Path, **changes: object) -> JointAdapter:
    return JointAdapter(directory, config_of(**changes))


def reads(directory: Path, of: Shown, **changes: object) -> JointAdapter:
    adapter = adapter_of(directory, **changes)
    adapter.read(of.texts, of.images)
    return adapter


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-joint"
    make_vision_model(folder, clip)
    return folder


def fit(adapter: JointAdapter, of: Shown, checkpoints: EpochCheckpoints | None = None) -> int:
    """Epoch that validation chose."""

    def validate() -> float:
        return float(recalls(of.behaviour, adapter.encode(of.items), "valid", 10).mean())

    return adapter.fit(co_visits(of.behaviour, 20, 1.0), validate, checkpoints).best_epoch


def judged(adapter: JointAdapter, of: Shown) -> tuple[dict[str, Comparison], str]:
    """What adaptation brought, and the gate's refusal."""
    gate = EncoderGate(adapter, of.behaviour, adapter.config, None)
    is_better = fit(adapter, of) > 0
    compared = gate.compare(adapter, is_better=is_better)
    return {metric: one for (metric, _), one in compared.items()}, refusal(
        adapter.config, compared, is_better=is_better
    )


@pytest.mark.parametrize(("rank", "learning_rate"), [(16, 1e-2), (None, 5e-3)])
def test_items_that_training_has_not_seen_are_found_by_behaviour_and_by_their_other_modality(
    directory: Path, tmp_path: Path, rank: int | None, learning_rate: float
) -> None:
    of = shown()
    adapter = reads(directory, of, rank=rank, learning_rate=learning_rate, **PLANTED)
    compared, told = judged(adapter, of)
    assert not told and compared[RECALL].diff_low > 0.01
    for metric in CROSS_MODAL:
        assert compared[metric].base_value < 0.25 and compared[metric].diff_low > 0.2
    temperature = {n: w for n, w in adapter.model.state_dict().items() if n.startswith("logit")}
    both = adapter.with_both(of.items)[:20].tolist()
    texts, images = adapter.encode_both(both)
    adapter.save(tmp_path / "tiny-store")
    again = reads(tmp_path / "tiny-store", of)
    assert all(torch.equal(again.model.state_dict()[n], w) for n, w in temperature.items()) and temperature
    np.testing.assert_allclose(adapter.encode_both(both)[0], texts, atol=1e-5, err_msg="merged adapters change nothing")
    settings = {"tiny-store": {"kind": "joint", "dtype": "float32"}}
    models = ModelsConfig.model_validate({"root": str(tmp_path), "encoders": settings, "backend": "torch"})
    encoder = make_encoder(models.encoders["tiny-store"], models)
    encoder.load()
    found = encoder.encode([*[str(of.texts[n]) for n in both], *[as_png(of.images.pixels[n]) for n in both]])
    assert found.errors == [None] * 40
    np.testing.assert_allclose(found.vectors, np.concatenate([texts, images]), atol=1e-5)


def test_where_behaviour_says_nothing_the_gain_is_not_beyond_chance(directory: Path) -> None:
    _, told = judged(reads(directory, of := shown(is_told=False), learning_rate=1e-2, **PLANTED), of)
    assert told in ("the gain is not beyond chance", "no epoch was better on validation")


def test_an_encoder_whose_texts_find_their_images_less_often_is_refused(directory: Path, tmp_path: Path) -> None:
    of = shown()
    first = reads(directory, of, learning_rate=1e-2, **PLANTED)
    fit(first, of)
    first.save(tmp_path / "good")
    adapter = reads(tmp_path / "good", of, min_gain=-1.0)
    gate = EncoderGate(adapter, of.behaviour, adapter.config, None)
    with torch.no_grad():
        adapter.model.visual_projection.layer.weight.neg_()
    compared = gate.compare(adapter, is_better=True)
    assert compared[TEXT_TO_IMAGE, 10].diff_high < -0.05
    assert refusal(adapter.config, compared, is_better=True) == (
        "held-out images by their text may be found less often by more than 0.05 (adaptation.cross_modal_margin)"
    )
    assert refusal(config_of(min_gain=-1.0, cross_modal_margin=None), compared, is_better=True) == ""


def test_the_loss_is_that_of_neighbours_in_and_between_modalities_and_of_each_items_own(directory: Path) -> None:
    _, looks = (one := shown(8, 2, num_lacking=0)), one.images
    texts = list(one.texts)
    texts[2], texts[3] = None, texts[1]
    rows = np.arange(8)
    rows[0] = -1
    adapter = adapter_of(directory)
    adapter.read(texts, Images(looks.pixels, rows))
    weights = csr_array(np.array([[0, 1, 3, 0, 0, 0, 0, 0]] + [[1] + [0] * 7] * 2 + [[0] * 8] * 5, np.float32))
    batch = np.array([0, 2, 3, 1, 4])
    with torch.no_grad():
        found = float(adapter._loss(batch, weights))
    has_text, has_image = [0, 1, 3, 4], [1, 2, 3, 4]
    whole = adapter_of(directory)
    whole.read([text or "stone" for text in texts], Images(looks.pixels, np.arange(8)))
    text_vectors, image_vectors = whole.encode_both(range(8))
    dense, losses = weights.toarray(), []
    for own, anchors in ((has_text, text_vectors), (has_image, image_vectors)):
        for others, candidates in ((has_text, text_vectors), (has_image, image_vectors)):
            values = []
            for n in own:
                kept = [m for m in others if m != n]
                logits = np.array([anchors[n] @ candidates[m] / 0.2 for m in kept], np.float64)
                share = dense[n, kept]
                if share.sum():
                    values.append(-(share / share.sum()) @ (logits - np.log(np.exp(logits).sum())))
            losses += [np.mean(values)] if values else []
    # Items 1 and 3 have one text: neither is the other's negative.
    both, equal = [1, 3, 4], {(1, 3), (3, 1)}
    scale, matches = float(adapter.model.logit_scale.exp()), []
    for anchors, candidates in ((text_vectors, image_vectors), (image_vectors, text_vectors)):
        for n in both:
            logits = {m: scale * anchors[n] @ candidates[m] for m in both if (n, m) not in equal}
            matches.append(np.log(sum(np.exp(one) for one in logits.values())) - logits[n])
    assert found == pytest.approx(np.mean(losses) + np.mean(matches), rel=1e-4)


def test_what_an_item_lacks_is_neither_read_nor_filled(directory: Path) -> None:
    of = shown(12, 4, num_lacking=3)
    texts = list(of.texts)
    texts[4], texts[0], texts[1] = "", "unheard-of", None
    adapter = adapter_of(directory)
    adapter.read(texts, of.images)
    assert adapter.with_both(range(12)).tolist() == [3, 5, 6, 7, 8]
    vectors = adapter.encode(range(12))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [0, 0, *[1] * 10], atol=1e-5)
    alone, _ = reads(directory, shown(12, 4, num_lacking=0)).encode_both(range(12))
    np.testing.assert_allclose(vectors[2], alone[2], atol=1e-5, err_msg="one without image is its text")
    graph = csr_array(np.ones((12, 12), np.float32))
    kept = adapter.graph(graph).toarray()
    assert not kept[:2].any() and not kept[:, :2].any() and kept[2:, 2:].all()


@pytest.mark.parametrize("make", [clip, siglip])
def test_frozen_layers_of_both_towers_are_computed_once_and_change_nothing(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    make_vision_model(tmp_path / "m", make)
    of = shown(14, 4, num_lacking=2)
    whole, kept = (reads(tmp_path / "m", of, trained_layers=n) for n in (None, 1))
    assert kept._images.is_kept and kept._texts._is_kept and not whole._texts._is_kept
    read = list[Any]()
    kept._images._pixels = read.append  # type: ignore[method-assign,assignment]
    layers = kept.model.text_model.encoder.layers
    layers[0].register_forward_hook(lambda *_: read.append(_))
    found = kept.encode(range(14))
    assert not read, "what is kept is not computed again"
    np.testing.assert_allclose(found, whole.encode(range(14)), atol=1e-5)
    assert any(name.startswith("text_model") for name in kept.trained)
    assert any(name.startswith("vision_model") for name in kept.trained)
    assert not any("layers.0." in name or "logit" in name for name in kept.trained)


@pytest.mark.parametrize("rank", [4, None])
def test_a_siglip_is_trained_saved_and_read_alike(tmp_path: Path, rank: int | None) -> None:
    make_vision_model(tmp_path / "m", siglip)
    of = shown(60, 40, num_lacking=4)
    adapter = reads(tmp_path / "m", of, rank=rank, max_epochs=1)
    before = adapter.encode(of.items)
    adapter.fit(co_visits(of.behaviour, 20, 1.0), iter([0.0, 1.0]).__next__)
    after = adapter.encode(of.items)
    assert np.abs(after - before).max() > 1e-3
    adapter.save(tmp_path / "saved")
    np.testing.assert_allclose(reads(tmp_path / "saved", of).encode(of.items), after, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_so_does_a_run_that_was_killed(
    directory: Path, tmp_path: Path
) -> None:
    of = shown(80, 40, num_lacking=6)
    graph = co_visits(of.behaviour, 20, 1.0)

    class KilledError(Exception):
        pass

    def scores(kills: bool) -> Callable[[], float]:
        calls = iter([0.0, 1.0, 2.0, 3.0])

        def score() -> float:
            value = next(calls)
            if kills and value == 2.0:
                raise KilledError
            return value

        return score

    def run(checkpoints: EpochCheckpoints | None, score: Callable[[], float]) -> dict[str, torch.Tensor]:
        adapter = reads(directory, of, max_epochs=3, trained_layers=1)
        adapter.fit(graph, score, checkpoints)
        merge_adapters(adapter.model)
        found: dict[str, torch.Tensor] = adapter.model.state_dict()
        return found

    whole, again = run(None, scores(False)), run(None, scores(False))
    with pytest.raises(KilledError):
        run(EpochCheckpoints(tmp_path, "same"), scores(True))
    resumed = run(EpochCheckpoints(tmp_path, "same"), iter([2.0, 3.0]).__next__)
    untouched = adapter_of(directory, rank=None).model.state_dict()
    assert set(untouched) == set(whole)
    assert {name.partition("_")[0] for name in whole if not torch.equal(whole[name], untouched[name])} == {
        "text",
        "vision",
        "visual",
    }
    for name, value in whole.items():
        assert torch.equal(value, again[name]) and torch.equal(value, resumed[name]), name


class _Fixed:
    """Vectors of four items, the last two of which share a text, the first of which has no image."""

    def with_both(self, items: list[int]) -> np.ndarray:
        return np.array([item for item in items if item])

    def content_ids(self, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([5, 6, 7, 7])[numbers], np.array([-1, 4, 9, 8])[numbers]

    def encode_both(self, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        texts = np.array([[9, 9], [1, 0], [0, 1], [0, 1]], np.float32)
        images = np.array([[9, 9], [0.1, 0.9], [1, 0], [0, 1]], np.float32)
        return texts[numbers], images[numbers]


def test_a_text_finds_any_image_of_an_item_with_it_and_an_image_its_text() -> None:
    fixed = cast(JointAdapter, _Fixed())
    found = cross_modal_hits(fixed, [0, 1, 2, 3], 1)
    # Texts 6 and 7 find images 9 and 8, of which 8 is right; images 4, 8 and 9 find texts 7, 7 and 6.
    assert found.of_texts.tolist() == [0.0, 1.0] and found.of_images.tolist() == [0.0, 1.0, 0.0]
    wider = cross_modal_hits(fixed, [0, 1, 2, 3], 3)
    assert wider.of_texts.tolist() == [1.0, 1.0] and wider.of_images.tolist() == [1.0] * 3


def test_items_that_share_a_text_or_an_image_are_in_one_part() -> None:
    texts = {"a": "red", "b": "red", "c": "blue", "e": "x"}
    images = {"b": "1", "c": "1", "d": "2", "e": "red"}
    groups = groups_of_items(texts, images)
    assert groups["a"] == groups["b"] == groups["c"] and len(set(groups.values())) == 3
    assert groups_of_items(dict(reversed(texts.items())), images) == groups
    many = {f"i{n:03d}": f"text {n}" for n in range(200)}
    visits = [("u", "i000")]
    four = groups_of_items(many, {item: str(int(item[1:]) // 4) for item in many})
    parts = make_behaviour(many, visits, 0.2, 0.2, four).parts
    assert set(parts.tolist()) == {0, 1, 2}
    assert all(len(set(one)) == 1 for one in parts.reshape(-1, 4).tolist())


def test_too_few_held_out_items_with_both_are_refused_where_the_gate_asks(directory: Path) -> None:
    of = shown(60, 40, num_lacking=28)
    adapter = reads(directory, of)
    with pytest.raises(
        RecipeError, match=r"at least 30 different texts and images of held-out items with both.*got \d"
    ):
        EncoderGate(adapter, of.behaviour, adapter.config, None)
    without = reads(directory, of, cross_modal_margin=None)
    gate = EncoderGate(without, of.behaviour, without.config, None)
    assert (RECALL, 10) in gate.compare(without, is_better=False)


def test_directories_without_two_towers_are_refused(tmp_path: Path) -> None:
    make_vision_model(tmp_path / "resnet", resnet)
    make_vision_model(tmp_path / "wordless", resnet)
    make_text_model(tmp_path / "resnet")
    resnet().save_pretrained(tmp_path / "resnet")
    for name, said in (("resnet", "ResNetModel, known are CLIPModel and SiglipModel"), ("wordless", "no tokenizer")):
        with pytest.raises(RecipeError, match=f"Encoder `tiny-joint` cannot be adapted: .*{said}"):
            adapter_of(tmp_path / name)


def test_what_a_joint_encoder_cannot_have_is_refused() -> None:
    config = AdaptationConfig().resolved("joint")
    assert config.target == "store-joint" and config.pairs == ("co_visits", "searches", "reviews")
    told: list[tuple[dict[str, Any], str]] = [
        ({"steps": ["masked_language", "behaviour"]}, "adaptation.steps: .* about texts alone"),
        ({"student": {}}, "adaptation.student: .* about texts alone"),
        ({"max_tokens": 32}, "adaptation.max_tokens: .* about texts alone"),
    ]
    for changes, said in told:
        with pytest.raises(ConfigError, match=said):
            AdaptationConfig.model_validate(changes).resolved("joint")
    AdaptationConfig.model_validate({"fields": ["title"], "search_minutes": 5.0}).resolved("joint")
    margin = AdaptationConfig.model_validate({"cross_modal_margin": None})
    for kind in ("text", "image"):
        with pytest.raises(ConfigError, match=f"adaptation.cross_modal_margin: .* of kind {kind}.* adapt a joint"):
            margin.resolved(cast(Any, kind))


def test_a_space_of_conse_is_refused(tmp_path: Path) -> None:
    entry = {"kind": "joint", "directory": "a", "text_directory": "b"}
    models = ModelsConfig.model_validate({"root": str(tmp_path), "encoders": {"conse": entry}})
    with pytest.raises(ConfigError, match=r"adaptation\.encoder: .*trained together.*ConSE"):
        adapted_encoder(AdaptationConfig(encoder="conse"), models)
