from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoModel

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.image.encoder import ImageEncoder
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import encoder_spec, make_encoder, make_extractor
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.encoders.weights.torchvision_directory import load_torchvision
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.frames import sample_frames
from tests.unit.encoders.tiny_videos import MAKERS, NUM_FRAMES
from tests.unit.media.clips import clip, scene

DIMS = {"videomae": 16, "xclip": 16, "convolutions": 512, "images": 16}


@pytest.fixture(scope="module")
def video_models(tiny_models: ModelsConfig, tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    root = tmp_path_factory.mktemp("video-models")
    for name, make in MAKERS.items():
        (root / name).mkdir()
        make(root / name)
    shutil.copytree(Path(tiny_models.root, "tiny-image"), root / "images")
    shutil.copytree(Path(tiny_models.root, "tiny-text"), root / "texts")
    return ModelsConfig.model_validate(
        {"root": str(root), "encoders": {n: {"kind": "video", "dtype": "float32"} for n in DIMS}, "backend": "torch"}
    )


def loaded(models: ModelsConfig, name: str, **settings: object) -> Encoder:
    encoder = make_encoder(models.encoders[name].model_copy(update=settings), models)
    encoder.load()
    return encoder


def two_scenes(num_frames: int = 24) -> bytes:
    return clip(scene(0, num_frames // 2) + scene(1, num_frames // 2))


@pytest.mark.parametrize("name", DIMS)
def test_every_family_gives_a_vector_that_does_not_depend_on_its_batch(video_models: ModelsConfig, name: str) -> None:
    encoder = loaded(video_models, name)
    assert (encoder.spec.modality, encoder.spec.input_kind) == ("video", "video")
    videos = [clip(scene(seed, 6)) for seed in range(3)]
    together = encoder.encode(videos)
    assert together.errors == [None] * 3
    assert together.vectors.shape == (3, DIMS[name]) and together.vectors.dtype == np.float32
    assert encoder.spec.dim in (None, DIMS[name])
    alone = np.stack([encoder.encode([video]).vectors[0] for video in videos[::-1]])[::-1]
    assert np.array_equal(together.vectors, alone)
    assert not np.allclose(together.vectors[0], together.vectors[1], atol=1e-4)


def test_images_are_averaged_over_even_frames_and_scenes(video_models: ModelsConfig, tiny_models: ModelsConfig) -> None:
    content = two_scenes()
    frames = sample_frames(content, num_even=4, num_scenes=1, short_side_px=40)
    assert len(frames.pixels) == 5
    images = make_encoder(tiny_models.encoders["tiny-image"], tiny_models)
    assert isinstance(images, ImageEncoder)
    images.load()
    expected = images.encode_arrays(list(frames.pixels)).vectors.mean(axis=0)
    got = loaded(video_models, "images", num_frames=4, num_scenes=1).encode([content]).vectors[0]
    assert np.allclose(got, expected, atol=1e-6)


def inputs(models: ModelsConfig, name: str, content: bytes) -> npt.NDArray[np.float32]:
    """What a model of video sees: `[1, T, H, W, 3]`."""
    directory = Path(models.root, name)
    spec_ = ImagePreprocessing.from_directory(directory, next(directory.glob("*preprocessor_config.json")).name)
    frames = sample_frames(content, num_even=NUM_FRAMES, num_scenes=0, short_side_px=spec_.wanted_px)
    return (np.stack([spec_.fit_array(frame) for frame in frames.pixels])[None] / 255 - 0.45).astype(np.float32) / 0.25


def test_videomae_vector_is_the_mean_of_its_tokens(video_models: ModelsConfig) -> None:
    content = two_scenes()
    x = torch.from_numpy(inputs(video_models, "videomae", content)).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        tokens = AutoModel.from_pretrained(Path(video_models.root, "videomae")).eval()(pixel_values=x).last_hidden_state
    got = loaded(video_models, "videomae").encode([content]).vectors[0]
    assert np.allclose(got, tokens[0].mean(0).numpy(), atol=1e-5)


@pytest.mark.skipif(transformers.__version__ < "5", reason="get_video_features of transformers 4.57 fails by itself")
def test_xclip_vector_is_that_of_its_video_tower(video_models: ModelsConfig) -> None:
    content = two_scenes()
    x = torch.from_numpy(inputs(video_models, "xclip", content)).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        model = AutoModel.from_pretrained(Path(video_models.root, "xclip")).eval()
        expected = model.get_video_features(pixel_values=x).pooler_output[0].numpy()
    assert np.allclose(loaded(video_models, "xclip").encode([content]).vectors[0], expected, atol=1e-5)


def test_convolutions_see_time_as_a_dimension(video_models: ModelsConfig) -> None:
    content = two_scenes()
    x = torch.from_numpy(inputs(video_models, "convolutions", content)).permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        expected = load_torchvision(Path(video_models.root, "convolutions"), torch.float32)(x)[0].numpy()
    assert np.allclose(loaded(video_models, "convolutions").encode([content]).vectors[0], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["videomae", "images"])
def test_a_still_image_is_a_video(video_models: ModelsConfig, name: str) -> None:
    result = loaded(video_models, name).encode([clip(scene(0, 1))])
    assert result.errors == [None] and result.vectors.any()


@pytest.mark.parametrize("name", ["videomae", "images"])
def test_what_shows_no_frame_is_a_row_with_an_error(video_models: ModelsConfig, name: str) -> None:
    good = clip(scene(0, 6))
    cut = clip(scene(0, 24), container="matroska")
    batch = [
        good,
        b"",
        None,
        b"no video",
        good[: len(good) // 2],
        clip([], sound_seconds=0.2),
        "text",
        good,
        cut[:-500],
    ]
    result = loaded(video_models, name).encode(batch)
    reasons = [None if error is None else error.split(":")[0] for error in result.errors]
    assert reasons == [
        None,
        "media_empty",
        "media_missing",
        "media_wrong_type",
        "media_truncated",
        "media_no_video",
        "media_missing",
        None,
        None,  # what can be read counts
    ]
    assert np.array_equal(result.vectors[0], result.vectors[7])
    assert not result.vectors[1:7].any() and result.vectors[8].any()


def test_speech_is_heard_in_the_sound_track_of_a_video(tiny_models: ModelsConfig) -> None:
    extractor = make_extractor(tiny_models.encoders["tiny-speech"], tiny_models)
    extractor.load()
    with_sound, silent = clip(scene(0, 12), sound_seconds=1.0), clip(scene(0, 12))
    heard, nothing = extractor.extract([with_sound, silent])
    assert heard.error is None and heard.text is not None
    assert nothing.text is None and str(nothing.error).startswith("media_no_sound: ")


def test_values_that_are_not_finite_are_an_error(video_models: ModelsConfig) -> None:
    encoder = loaded(video_models, "videomae")
    for weights in encoder._model._network.parameters():  # type: ignore[attr-defined]
        torch.nn.init.constant_(weights, float("nan"))
    result = encoder.encode([clip(scene(0, 4))])
    assert str(result.errors[0]).startswith("not_finite: ") and not result.vectors.any()


def test_batches_of_nothing_have_the_right_shape(video_models: ModelsConfig) -> None:
    encoder = loaded(video_models, "images")
    assert encoder.encode([]).vectors.shape == (0, 16)
    assert encoder.encode([None]).vectors.shape == (1, 16)


@pytest.mark.parametrize("name", ["videomae", "images"])
def test_motion_follows_the_vector_in_its_measure(video_models: ModelsConfig, name: str) -> None:
    content = clip(scene(0, 24, pan_px=2))
    plain = loaded(video_models, name).encode([content]).vectors[0]
    moving = loaded(video_models, name, motion=True)
    assert moving.spec.dim == 18
    vector = moving.encode([content]).vectors[0]
    frames = sample_frames(content)
    assert np.array_equal(vector[:16], plain)
    expected = np.array([frames.motion_mean, frames.motion_spread]) * np.linalg.norm(plain)
    assert np.allclose(vector[16:], expected, rtol=1e-5) and vector[16] > 0


def test_settings_that_change_a_vector_change_the_revision(video_models: ModelsConfig) -> None:
    config = video_models.encoders["images"]
    changes: list[dict[str, object]] = [{}, {"num_frames": 4}, {"num_scenes": 2}, {"motion": True}]
    specs = [encoder_spec(config.model_copy(update=change), video_models) for change in changes]
    assert len({spec.revision for spec in specs}) == 4


def test_the_packaged_models_have_an_entry_for_video() -> None:
    entry = ModelsConfig().encoder("video-frames", "video")
    assert entry.directories() == {"directory": "efficientnet-lite0"}


def test_an_encoder_that_is_not_loaded_says_so(video_models: ModelsConfig) -> None:
    with pytest.raises(EncoderError, match="call load"):
        make_encoder(video_models.encoders["videomae"], video_models).encode([])


def test_a_directory_of_another_family_is_refused(video_models: ModelsConfig) -> None:
    shutil.copy(Path(video_models.root, "images", "preprocessor_config.json"), Path(video_models.root, "texts"))
    encoder = make_encoder(encoder_config(id="texts", kind="video"), video_models)
    with pytest.raises(EncoderError, match="vision model"):
        encoder.load()


def test_a_video_model_without_weights_says_what_is_missing(video_models: ModelsConfig, tmp_path: Path) -> None:
    shutil.copytree(Path(video_models.root, "videomae"), tmp_path / "videomae")
    settings = json.loads((tmp_path / "videomae" / "config.json").read_text())
    (tmp_path / "videomae" / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 2}))
    encoder = make_encoder(encoder_config(id="videomae", kind="video"), ModelsConfig(root=str(tmp_path)))
    with pytest.raises(EncoderError, match="weights without"):
        encoder.load()


def test_a_video_model_must_tell_its_number_of_frames(video_models: ModelsConfig, tmp_path: Path) -> None:
    shutil.copytree(Path(video_models.root, "convolutions"), tmp_path / "convolutions")
    settings = json.loads((tmp_path / "convolutions" / "config.json").read_text())
    (tmp_path / "convolutions" / "config.json").write_text(json.dumps({**settings, "num_frames": "many"}))
    with pytest.raises(EncoderError, match="num_frames"):
        make_encoder(encoder_config(id="convolutions", kind="video"), ModelsConfig(root=str(tmp_path)))


def pan_over(photo: Path, start: float) -> bytes:
    """Two seconds of a camera that pans over a part of a photo."""
    image = Image.open(photo).convert("RGB")
    side = int(min(image.size) * 0.8)
    steps = np.linspace(start, start + 0.1, 24)
    boxes = [(int((image.width - side) * step), int((image.height - side) * step)) for step in steps]
    frames = [np.asarray(image.crop((x, y, x + side, y + side)).resize((224, 224))) for x, y in boxes]
    return clip(frames)


@pytest.mark.models
def test_clips_of_one_photo_are_nearer_than_those_of_others(real_models: ModelsConfig) -> None:
    encoder = loaded(real_models, "video-frames", num_frames=2)
    images = Path(__file__).parents[3] / "data/store/images"
    photos = [images / name for name in ("p084.jpg", "p214.jpg")]
    videos = [pan_over(photo, start) for photo in photos for start in (0.0, 0.9)]
    vectors = encoder.encode(videos).vectors
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    assert cosines.argmax(axis=1).tolist() == [1, 0, 3, 2]
