"""Media that were refused: read again only where that may help."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mmrec_lib.ingest.config import LandingConfig, MediaConfig
from mmrec_lib.media.errors import MAX_ATTEMPTS
from tests.spark.test_ingest import Store, image


def attempts(store: Store) -> list[tuple[str, str, int | None]]:
    return store.rows("quarantine", "record_id", "reason", "num_attempts")


def replace_unseen(path: Path, content: bytes) -> None:
    """Other bytes with the size and time of those that were there: only who reads the file can tell."""
    status = path.stat()
    path.write_bytes(content.ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.slow
def test_media_that_were_refused_for_good_are_not_read_again_until_something_changes(
    spark: SparkSession, tmp_path: Path
) -> None:
    store = Store(spark, tmp_path)
    good = image(1)
    broken = store.folder / "data" / "images" / "broken.png"
    store.land("items.jsonl", [{"item_id": "i1", "images": ["images/broken.png", "images/none.png"]}])
    store.land("images/broken.png", b"no image at all".ljust(len(good)))
    assert store.ingest().counts["media.quarantined"] == 2
    refused = [("i1", "media_missing", None), ("i1", "media_wrong_type", 1)]
    assert attempts(store) == refused

    replace_unseen(broken, good)
    store.land("images/none.png", image(2))
    assert store.ingest().counts["media.read"] == 1, "only the new file is read"
    assert attempts(store) == refused[1:]
    before = store.versions()["quarantine"]
    assert "media.read" not in store.ingest().counts and store.versions()["quarantine"] == before

    replace_unseen(broken, b"no image at all".ljust(len(good)))
    os.utime(broken, (1, 1))
    store.ingest()
    assert attempts(store) == refused[1:], "touched: the bytes are the same, so they are not decoded again"
    replace_unseen(broken, good)
    store.land("items-2.jsonl", [{"item_id": "i2", "images": ["images/1.png"]}])
    store.ingest()
    assert ("i1", "media_wrong_type", 1) in attempts(store), "the new time is remembered"

    store.ingest(LandingConfig(media=MediaConfig(max_pixels=1000)))
    assert [row[0] for row in attempts(store)] == ["i2"], "other limits: it is read again, and good by now"
    assert len(store.rows("media_link")) == 2


@pytest.mark.slow
def test_a_record_that_arrives_again_names_a_refused_medium_without_decoding_it_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    store = Store(spark, tmp_path)
    store.land("images/broken.png", b"no image at all")
    store.land("items.jsonl", [{"item_id": "i1", "images": ["images/broken.png"]}])
    store.ingest()
    store.land(
        "items-2.jsonl", [{"item_id": item, "title": "Hat", "images": ["images/broken.png"]} for item in ("i1", "i2")]
    )
    store.ingest()
    rows = store.rows("quarantine", "record_id", "source_path", "reason", "num_attempts")
    assert rows == [(item, "items-2.jsonl", "media_wrong_type", 1) for item in ("i1", "i2")]


@pytest.mark.slow
def test_a_timeout_is_tried_again_by_later_runs_a_few_times(spark: SparkSession, tmp_path: Path) -> None:
    store = Store(spark, tmp_path, LandingConfig(media=MediaConfig(decoder_timeout_seconds=1e-6)))
    store.land("items.jsonl", [{"item_id": "i1", "images": ["images/1.png"]}])
    store.land("images/1.png", image(1))
    for number in range(1, MAX_ATTEMPTS + 1):
        store.ingest()
        assert attempts(store) == [("i1", "media_decoder_timeout", number)]
    before = store.versions()["quarantine"]
    store.ingest()
    assert attempts(store) == [("i1", "media_decoder_timeout", MAX_ATTEMPTS)]
    assert store.versions()["quarantine"] == before

    store.ingest(LandingConfig())
    assert attempts(store) == [] and len(store.rows("media_link")) == 1
