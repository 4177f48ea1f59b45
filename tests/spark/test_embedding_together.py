"""Several models that look at the same images, in one pass."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from PIL import Image

from mmrec_lib.embedding import operator
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import Columns, Inference
from mmrec_lib.embedding.run import embed_contents, extract_texts
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec, make_encoder, make_extractor
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media import images
from tests.data.labels import draw_label
from tests.spark.test_embedding_contents import link, rows
from tests.spark.test_embedding_media import asset
from tests.unit.encoders.tiny_models import image_bytes, make_models
from tests.unit.encoders.tiny_vision import make_vision_model, resnet, vit_classifier


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    root = tmp_path_factory.mktemp("models")
    made = make_models(root).model_dump()
    make_vision_model(root / "resnet", resnet)
    make_vision_model(root / "namer", vit_classifier)
    others = {
        "first": {"kind": "image", "directory": "tiny-image", "dtype": "float32"},
        "second": {"kind": "image", "directory": "resnet", "dtype": "float32"},
        "reader": {"kind": "ocr", "min_confidence": 0.4},
        "namer": {"kind": "labels", "dtype": "float32", "min_probability": 0.0},
    }
    return ModelsConfig.model_validate({**made, "threads": 1, "encoders": {**made["encoders"], **others}})


def tasks_of(models: ModelsConfig, *names: str) -> list[Inference]:
    configs = [models.encoders[name] for name in names]
    specs = [encoder_spec(config, models) for config in configs]
    columns, portions = Columns("content"), EmbeddingConfig()
    return [Inference(config, models, spec, columns, portions) for config, spec in zip(configs, specs, strict=True)]


def batch_of(contents: list[bytes | None], wanted: list[dict[str, int]]) -> pa.RecordBatch:
    names = [str(number) for number in range(len(contents))]
    arrays = [pa.array(names), pa.array(contents, pa.binary()), pa.array(wanted, pa.map_(pa.string(), pa.int32()))]
    return pa.RecordBatch.from_arrays(arrays, ["content_id", "content", "wanted"])


def as_png(image: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(image)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(("names", "makes_text"), [(("reader", "namer"), True), (("first", "second"), False)])
def test_an_image_is_decoded_once_for_all_models_and_they_say_what_they_say_alone(
    models: ModelsConfig, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], makes_text: bool
) -> None:
    # A JPEG would be decoded at the size that each model needs; see `test_media_images`.
    contents = [as_png(draw_label(1)[0]), *(image_bytes(seed) for seed in range(20)), b"no image", None]
    decoded: list[tuple[int, int]] = []
    real = images._upright_pixels

    def counting(image: object) -> object:
        decoded.append(image.size)  # type: ignore[attr-defined]
        return real(image)  # type: ignore[arg-type]

    both = dict.fromkeys(names, 0)
    wanted = [both] * (len(contents) - 2) + [{names[0]: 3}, both]
    monkeypatch.setattr(operator, "_worker", operator._Worker())
    made = list(operator._infer_partition(iter([batch_of(contents, wanted)]), tasks_of(models, *names), makes_text))
    monkeypatch.setattr(images, "_upright_pixels", counting)
    # Loading draws samples of its own, so it is over when decoding is counted.
    list(operator._infer_partition(iter([batch_of(contents, wanted)]), tasks_of(models, *names), makes_text))
    assert len(decoded) == 21

    found = {(row["content_id"], row["encoder_id"]): row for part in made for row in part.to_pylist()}
    assert len(found) == 2 * len(contents) - 1 and found["21", names[0]]["num_attempts"] == 3
    for name in names:
        seen = [content for content, models_of in zip(contents, wanted, strict=True) if name in models_of]
        rows_of = [found[key] for key in sorted(found, key=lambda key: int(key[0])) if key[1] == name]
        if makes_text:
            extractor = make_extractor(models.encoders[name], models)
            extractor.load()
            alone = extractor.extract(seen)
            assert [(row["text"], row["error"]) for row in rows_of] == [(one.text, one.error) for one in alone]
        else:
            encoder = make_encoder(models.encoders[name], models)
            encoder.load()
            result = encoder.encode(seen)
            assert [row["error"] for row in rows_of] == result.errors
            vectors = [row["vector"] for row in rows_of]
            assert vectors == [
                None if error else vector.tolist() for vector, error in zip(result.vectors, result.errors, strict=True)
            ]


def settings(labels: str | None = "namer") -> EmbeddingConfig:
    nothing = dict.fromkeys(("title", "description", "transcript", "ocr", "labels", "tags", "audio", "video"))
    unheard = {"transcript": None, "tags": None}
    return EmbeddingConfig.model_validate(
        {
            "extract": {"images": {"ocr": "reader", "labels": labels}, "audio": unheard, "video": unheard},
            "encode": {"item": {**nothing, "images": ["first", "second"]}, "review": {"text": None}},
            "num_partitions": 1,
        }
    )


@pytest.mark.slow
def test_models_that_look_at_images_share_a_pass_and_later_ones_see_what_they_lack(
    lakehouse: Lakehouse, models: ModelsConfig
) -> None:
    spark, said = lakehouse.spark, list[str]()
    label, _ = draw_label(1)
    media = {"label": label, "plain": image_bytes(0), "broken": b"no image"}
    lakehouse.merge("item", rows(spark, "item", *[{"item_id": name} for name in media]))
    lakehouse.merge(
        "media_asset", rows(spark, "media_asset", *(asset(name, "image", what) for name, what in media.items()))
    )
    links = [link("item", name, "images", name) for name in media]
    lakehouse.merge("media_link", rows(spark, "media_link", *links))

    counts, _ = extract_texts(lakehouse, models, settings(labels=None), said.append)
    assert (counts["extracted"], counts["errors"]) == (2, 1)
    counts, metrics = extract_texts(lakehouse, models, settings(), said.append)
    assert (counts["extracted"], counts["errors"]) == (2, 1)
    assert metrics["labels of images by namer/rows"] == 3.0 and metrics["ocr of images by reader/rows"] == 0.0
    read = {(row["content_id"], row["kind"]): row for row in lakehouse.read("media_text").collect()}
    assert set(read) == {(name, kind) for name in media for kind in ("ocr", "labels")}
    assert read["label", "ocr"]["text"] and read["plain", "ocr"]["text"] == "" and read["plain", "labels"]["text"]
    assert all((row["error"] is not None) == (key[0] == "broken") for key, row in read.items())
    assert {row["revision"] for row in read.values()} == {
        encoder_spec(models.encoders[name], models).revision for name in ("reader", "namer")
    }
    counts, metrics = extract_texts(lakehouse, models, settings(), said.append)
    assert counts["extracted"] == 0 and metrics == {}

    counts, metrics = embed_contents(lakehouse, models, settings(), said.append)
    assert (counts["encoded"], counts["errors"]) == (4, 2)
    assert metrics["image of image by first/rows"] == metrics["image of image by second/rows"] == 3.0
    stored = lakehouse.read("content_embedding").where("error is null")
    found = {(row["content_id"], row["encoder_id"]): row["vector"] for row in stored.collect()}
    for name in ("first", "second"):
        encoder = make_encoder(models.encoders[name], models)
        encoder.load()
        alone = encoder.encode([label, media["plain"]]).vectors.tolist()
        assert {key[0]: vector for key, vector in found.items() if key[1] == name} == dict(
            zip(("label", "plain"), alone, strict=True)
        )
