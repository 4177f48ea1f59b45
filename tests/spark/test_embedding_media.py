"""Sound and video, from original bytes to vectors of items."""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.owner_text import write_owner_text
from mmrec_lib.embedding.revisions import attempts_now, not_done
from mmrec_lib.embedding.run import embed_contents
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media.errors import MAX_ATTEMPTS
from tests.spark.test_embedding_contents import link, rows
from tests.unit.encoders.tiny_models import make_models, sound_bytes
from tests.unit.media.clips import clip, scene

FRAMES_AND_SOUND = ["frames", "sound"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    made = make_models(tmp_path_factory.mktemp("models"))
    others = {
        "frames": {"kind": "video", "directory": "tiny-image", "dtype": "float32"},
        "sound": {"kind": "sound_statistics"},
    }
    return ModelsConfig.model_validate({**made.model_dump(), "encoders": {**made.model_dump()["encoders"], **others}})


def settings() -> EmbeddingConfig:
    nothing = dict.fromkeys(("title", "description", "transcript", "ocr", "labels", "tags", "images"))
    unheard = {"transcript": None, "tags": None}
    return EmbeddingConfig.model_validate(
        {
            "extract": {"images": {"ocr": None, "labels": None}, "audio": unheard, "video": unheard},
            "encode": {
                "item": {**nothing, "audio": "sound", "video": FRAMES_AND_SOUND},
                "review": {"text": None},
            },
            "num_partitions": 1,
        }
    )


def asset(name: str, kind: str, content: bytes) -> dict[str, object]:
    return {"asset_id": name, "media_kind": kind, "bytes_len": len(content), "content": bytearray(content)}


@pytest.mark.slow
def test_an_item_gets_vectors_of_its_sound_and_of_both_tracks_of_its_video(
    lakehouse: Lakehouse, models: ModelsConfig
) -> None:
    spark = lakehouse.spark
    images, said = scene(1, 24), list[str]()
    media = {
        "tone": ("audio", sound_bytes(2.0)),
        "clip": ("video", clip(images, sound_seconds=2.0)),
        "mute": ("video", clip(images)),
        "cut": ("video", clip(images, sound_seconds=2.0)[:300]),
    }
    lakehouse.merge("item", rows(spark, "item", *({"item_id": name} for name in ("i1", "i2", "i3"))))
    lakehouse.merge("media_asset", rows(spark, "media_asset", *(asset(name, *what) for name, what in media.items())))
    links = [
        link("item", "i1", "audio", "tone"),
        link("item", "i1", "video", "clip"),
        link("item", "i2", "video", "mute"),
        link("item", "i3", "video", "cut"),
    ]
    lakehouse.merge("media_link", rows(spark, "media_link", *links))

    write_owner_text(lakehouse, [])
    counts, _ = embed_contents(lakehouse, models, settings(), said.append)
    assert counts == {"encoded": 4, "errors": 3, "contents": 4, "item_vectors": 4}
    made = lakehouse.read("content_embedding").select("content_id", "encoder_id", "modality", "error").collect()
    # Sound of both kinds is one piece of work, and nothing is encoded twice.
    assert {(row["content_id"], row["encoder_id"], row["modality"]) for row in made if row["error"] is None} == {
        ("tone", "sound", "audio"),
        ("clip", "sound", "audio"),
        ("clip", "frames", "video"),
        ("mute", "frames", "video"),
    }
    assert {(row["content_id"], row["encoder_id"], row["error"].split(":")[0]) for row in made if row["error"]} == {
        ("mute", "sound", "media_no_sound"),
        ("cut", "sound", "media_truncated"),
        ("cut", "frames", "media_truncated"),
    }
    assert len(made) == 7
    assert sorted(line.split(":")[0].strip() for line in said if "rows" in line) == [
        "audio of audio by sound",
        "video of video by frames",
    ]
    items = lakehouse.read("item_embedding").select("item_id", "field", "modality", "encoder_id", "dim").collect()
    assert {tuple(row) for row in items} == {
        ("i1", "audio", "audio", "sound", 308),
        ("i1", "video", "audio", "sound", 308),
        ("i1", "video", "video", "frames", 16),
        ("i2", "video", "video", "frames", 16),
    }
    released = lakehouse.read("encoder_release").select("field", "encoder_id").collect()
    assert {tuple(row) for row in released} == {("audio", "sound"), ("video", "sound"), ("video", "frames")}


@pytest.mark.slow
def test_media_that_a_busy_machine_failed_on_are_tried_again_a_few_times(
    lakehouse: Lakehouse, models: ModelsConfig
) -> None:
    spark = lakehouse.spark
    names = ("unlucky", "hopeless", "damaged")
    lakehouse.merge("item", rows(spark, "item", *({"item_id": name} for name in names)))
    lakehouse.merge("media_asset", rows(spark, "media_asset", *(asset(n, "audio", sound_bytes(2.0)) for n in names)))
    lakehouse.merge("media_link", rows(spark, "media_link", *(link("item", n, "audio", n) for n in names)))
    spec = encoder_spec(models.encoders["sound"], models)
    failed = {"encoder_id": spec.id, "revision": spec.revision, "modality": "audio"}
    errors = (
        {"content_id": "unlucky", "error": "media_decoder_timeout: it took too long"},
        {"content_id": "hopeless", "error": "media_decoder_crashed: again", "num_attempts": MAX_ATTEMPTS},
        {"content_id": "damaged", "error": "media_truncated: it is damaged"},
    )
    stored = rows(spark, "content_embedding", *({**failed, **error} for error in errors))
    lakehouse.merge("content_embedding", stored)

    todo = not_done(spark.createDataFrame([(name,) for name in (*names, "new")], "content_id string"), stored)
    assert {tuple(row) for row in todo.collect()} == {("unlucky", 1), ("new", 0)}
    again = todo.withColumn("error", F.lit("media_decoder_crashed: once more"))
    assert {row[0] for row in again.select(attempts_now(again)).collect()} == {1, 2}

    write_owner_text(lakehouse, [])
    counts, _ = embed_contents(lakehouse, models, settings(), [].append)
    assert counts["encoded"] == 1 and "to_retry" not in counts
    made = lakehouse.read("content_embedding").select("content_id", "error", "num_attempts").collect()
    assert {(row[0], row[1] is None, row[2]) for row in made} == {
        ("unlucky", True, None),
        ("hopeless", False, MAX_ATTEMPTS),
        ("damaged", False, None),
    }
