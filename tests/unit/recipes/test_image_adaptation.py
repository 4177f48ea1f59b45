"""Adapting an image encoder: adapters of convolutions, frozen blocks computed once, and looks that behave alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import mmrec_lib.recipes.frozen_layers as frozen_module
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.runtime.fold_batch_norm import NEUTRAL_GATE_BIAS, is_neutral
from mmrec_lib.encoders.weights.directory import directory_revision
from mmrec_lib.errors import ConfigError, RecipeError
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapt_image import ImageAdapter, Images
from mmrec_lib.recipes.behaviour import Behaviour, Comparison, co_visits, make_behaviour, recalls
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.lora import LoraConv, add_adapters, merge_adapters
from tests.unit.encoders.tiny_models import make_text_model
from tests.unit.encoders.tiny_vision import (
    clip,
    efficientnet,
    make_vgg,
    make_vision_model,
    resnet,
    vit,
    vit_classifier,
)

FAST = {"encoder": "tiny-image", "batch_size": 16, "learning_rate": 5e-3}


def adapter_of(directory: Path, **changes: object) -> ImageAdapter:
    return ImageAdapter(directory, AdaptationConfig.model_validate({**FAST, **changes}))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-image"
    make_vision_model(folder, efficientnet)
    return folder


def looks(num_items: int = 160, num_users: int = 80, *, is_told: bool = True) -> tuple[Behaviour, Images]:
    """Images of two kinds, redder or bluer; light and green say nothing. Each user turns to one kind, or to any."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, num_items)
    pixels = rng.integers(90, 160, (num_items, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    pixels += rng.integers(-50, 51, (num_items, 1, 1, 1))
    pixels[..., 1] += rng.integers(-40, 41, (num_items, 1, 1))
    pixels[..., 0] += np.where(kinds == 0, 20, -20)[:, None, None]
    pixels[..., 2] += np.where(kinds == 1, 20, -20)[:, None, None]
    visits = []
    for user in range(num_users):
        pool = np.flatnonzero(kinds == user % 2) if is_told else np.arange(num_items)
        visits += [(f"u{user}", f"i{item:03d}") for item in rng.choice(pool, min(24, len(pool)), replace=False)]
    behaviour = make_behaviour({f"i{n:03d}": f"image {n}" for n in range(num_items)}, visits, 0.2, 0.25)
    return behaviour, Images(pixels.clip(0, 255).astype(np.uint8), np.arange(num_items))


def fitted(
    adapter: ImageAdapter, behaviour: Behaviour, images: Images, checkpoints: EpochCheckpoints | None = None
) -> tuple[Comparison, int]:
    """What adaptation brought on test, and the epoch that validation chose."""
    adapter.read(images)
    items = range(len(behaviour.item_ids))
    before = recalls(behaviour, adapter.encode(items), "test", 10)
    course = adapter.fit(
        co_visits(behaviour, 20, 1.0),
        lambda: float(recalls(behaviour, adapter.encode(items), "valid", 10).mean()),
        checkpoints,
    )
    return Comparison.of(before, recalls(behaviour, adapter.encode(items), "test", 10), 0), course.best_epoch


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 4, 1, bias=False),
        nn.Conv2d(6, 4, 3, stride=2, padding=1),
        nn.Conv2d(6, 4, 3, padding="same", dilation=2),
    ],
)
def test_an_adapter_of_a_convolution_is_nothing_at_first_and_merges_into_it(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 9, 7)
    before = layer(x).detach()
    adapter = LoraConv(layer, 2, 2.0)
    torch.testing.assert_close(adapter(x), before)
    with torch.no_grad():
        adapter.up.normal_()
    changed = adapter(x).detach()
    assert not torch.allclose(changed, before)
    torch.testing.assert_close(adapter.merged()(x), changed, rtol=1e-4, atol=1e-5)


def test_convolutions_in_groups_and_left_out_modules_get_no_adapter() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1), nn.Sequential(nn.Conv2d(8, 2, 1)))
    plain = list(model.modules())
    assert add_adapters(model, [model], 2, 1.0, besides=[model[2]]) == 1
    assert isinstance(model[1], LoraConv)
    merge_adapters(model)
    assert list(model.modules()) == plain
    with pytest.raises(RecipeError, match="linear layers or convolutions to adapt are needed"):
        add_adapters(model, [model[0]], 2, 1.0)


@pytest.mark.parametrize("make", [efficientnet, resnet, vit, vit_classifier])
def test_frozen_blocks_are_computed_once_and_change_nothing(make: Callable[[], Any], tmp_path: Path) -> None:
    make_vision_model(tmp_path / "m", make)
    _, images = looks(12)
    images = Images(images.pixels, np.array([*range(12), 3]))
    whole, kept = (adapter_of(tmp_path / "m", trained_layers=n) for n in (None, 1))
    for adapter in (whole, kept):
        adapter.read(images)
    reads = list[Any]()
    kept._reader._pixels = reads.append  # type: ignore[method-assign,assignment]
    found = kept.encode(range(13))
    assert not reads, "an image whose states are kept is not decoded again"
    np.testing.assert_allclose(found, whole.encode(range(13)), atol=1e-5)
    np.testing.assert_array_equal(found[3], found[12])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)


def test_states_above_the_bound_are_not_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, images = looks(12)
    kept = adapter_of(directory, trained_layers=1)
    kept.read(images)
    assert kept._reader.is_kept
    (state, *_) = kept._frozen._states.values()  # type: ignore[union-attr]
    monkeypatch.setattr(frozen_module, "MAX_CACHE_BYTES", 12 * state.numel() * 4 - 1)
    adapter = adapter_of(directory, trained_layers=1)
    adapter.read(images)
    assert not adapter._reader.is_kept and not adapter._frozen._states  # type: ignore[union-attr]
    np.testing.assert_allclose(adapter.encode(range(12)), kept.encode(range(12)), atol=1e-5)


PLANTED = {"trained_layers": None, "max_epochs": 6, "patience": 6, "temperature": 0.2}


@pytest.mark.parametrize(("rank", "learning_rate"), [(16, 1e-2), (None, 5e-3)])
def test_the_adapted_encoder_finds_more_of_items_whose_image_it_has_not_seen(
    tmp_path: Path, rank: int | None, learning_rate: float
) -> None:
    directory = tmp_path / "tiny-image"
    make_vision_model(directory, resnet)
    behaviour, images = looks()
    adapter = adapter_of(directory, rank=rank, learning_rate=learning_rate, **PLANTED)
    norms = {n: v.clone() for n, v in adapter.model.state_dict().items() if "running" in n or "num_batches" in n}
    compared, best_epoch = fitted(adapter, behaviour, images)
    assert best_epoch > 0 and compared.diff_low > 0.1
    after = adapter.model.state_dict()
    assert norms and all(torch.equal(after[name], value) for name, value in norms.items()), "as in evaluation"
    vectors = adapter.encode(range(20))
    adapter.save(tmp_path / "tiny-store")
    assert directory_revision(tmp_path / "tiny-store") != directory_revision(directory)
    settings = {"kind": "image", "dtype": "float32"}
    models = ModelsConfig.model_validate(
        {"root": str(tmp_path), "encoders": {"tiny-store": settings}, "backend": "torch"}
    )
    encoder = make_encoder(models.encoders["tiny-store"], models)
    encoder.load()
    found = encoder.encode([as_png(one) for one in images.pixels[:20]])
    assert found.errors == [None] * 20
    cosines = (found.vectors * vectors).sum(axis=1) / np.linalg.norm(found.vectors, axis=1)
    assert cosines.min() > 0.9999, "the encoders of the pipeline read the directory as any other"


def as_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_where_there_is_nothing_to_find_the_gain_is_not_beyond_chance(tmp_path: Path) -> None:
    make_vision_model(tmp_path / "tiny-image", resnet)
    behaviour, images = looks(is_told=False)
    compared, _ = fitted(adapter_of(tmp_path / "tiny-image", learning_rate=1e-2, **PLANTED), behaviour, images)
    assert compared.diff_low <= 0


def test_the_same_seed_gives_the_same_weights_and_so_does_a_run_that_was_killed(
    directory: Path, tmp_path: Path
) -> None:
    behaviour, images = looks(80, 40)
    graph = co_visits(behaviour, 20, 1.0)

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
        adapter = adapter_of(directory, max_epochs=3, trained_layers=1)
        adapter.read(images)
        adapter.fit(graph, score, checkpoints)
        merge_adapters(adapter.model)
        found: dict[str, torch.Tensor] = adapter.model.state_dict()
        return found

    whole, again = run(None, scores(False)), run(None, scores(False))
    checkpoints = EpochCheckpoints(tmp_path, "same")
    with pytest.raises(KilledError):
        run(checkpoints, scores(True))
    resumed = run(checkpoints, iter([2.0, 3.0]).__next__)
    changed = [name for name, value in adapter_of(directory, rank=None).model.state_dict().items()]
    assert set(changed) == set(whole)
    for name, value in whole.items():
        assert torch.equal(value, again[name]) and torch.equal(value, resumed[name]), name


@pytest.mark.parametrize("rank", [4, None])
def test_gates_that_do_nothing_stay_as_they_are(directory: Path, tmp_path: Path, rank: int | None) -> None:
    model = efficientnet()
    for module in model.modules():
        gate = getattr(module, "squeeze_excite", None)
        if gate is not None:
            nn.init.zeros_(gate.expand.weight)
            nn.init.constant_(gate.expand.bias, NEUTRAL_GATE_BIAS)
    make_vision_model(tmp_path / "lite", lambda: model)
    adapter = adapter_of(tmp_path / "lite", rank=rank, max_epochs=1, trained_layers=None)
    gates = [one for one in adapter.model.modules() if is_neutral(one)]
    behaviour, images = looks(60, 40)
    adapter.read(images)
    adapter.fit(co_visits(behaviour, 20, 1.0), iter([0.0, 1.0]).__next__)
    assert gates and all(is_neutral(gate) for gate in gates)
    assert not any("squeeze_excite" in name for name in adapter.trained), "fold_batch_norm removes them"


def test_a_transformer_without_pooling_layer_is_saved_without_one(tmp_path: Path) -> None:
    make_vision_model(tmp_path / "vit", vit_classifier)
    _, images = looks(6)
    adapter = adapter_of(tmp_path / "vit")
    adapter.read(images)
    vectors = adapter.encode(range(6))
    adapter.save(tmp_path / "saved")
    again = adapter_of(tmp_path / "saved")
    again.read(images)
    np.testing.assert_allclose(again.encode(range(6)), vectors, atol=1e-6)


def test_directories_without_such_a_network_are_refused(tmp_path: Path) -> None:
    make_vision_model(tmp_path / "clip", clip)
    make_vgg(tmp_path / "vgg")
    (tmp_path / "words").mkdir()
    make_text_model(tmp_path / "words")
    for name, said in (("clip", "two towers"), ("vgg", "network of torchvision"), ("words", "preprocessor_config")):
        with pytest.raises(RecipeError, match=f"Encoder `tiny-image` cannot be adapted: .*{said}"):
            adapter_of(tmp_path / name)


def test_few_images_with_a_neighbour_are_refused(directory: Path) -> None:
    behaviour, images = looks(8, 2)
    adapter = adapter_of(directory)
    adapter.read(images)
    with pytest.raises(RecipeError, match="at least 16 images with a neighbour are needed"):
        adapter.fit(co_visits(behaviour, 5, 0.0), lambda: 0.0)


def test_what_speaks_of_texts_is_refused_for_an_image_encoder() -> None:
    assert AdaptationConfig().resolved("image").pairs == ("co_visits",)
    assert AdaptationConfig().resolved("image").target == "store-image"
    assert AdaptationConfig().resolved("text").pairs == ("co_visits", "searches", "reviews")
    assert AdaptationConfig().resolved("text").target == "store-text"
    told: list[tuple[dict[str, Any], str]] = [
        ({"pairs": ["co_visits", "searches"]}, "adaptation.pairs: co_visits can tie .* kind image, got searches"),
        ({"steps": ["masked_language", "behaviour"]}, "adaptation.steps: .* about texts"),
        ({"student": {}}, "adaptation.student: .* about texts"),
        ({"fields": ["title"]}, "adaptation.fields: .* about texts"),
    ]
    for changes, said in told:
        with pytest.raises(ConfigError, match=said):
            AdaptationConfig.model_validate(changes).resolved("image")
        AdaptationConfig.model_validate(changes).resolved("text")
