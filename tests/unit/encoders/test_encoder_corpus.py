from __future__ import annotations

import zlib
from itertools import islice

import numpy as np
import pytest

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import ENCODE_REASONS
from mmrec_lib.media.probe import probe
from tests.corpus import Report, run
from tests.data.mutate import MUTATIONS, Medium, mutated, originals


@pytest.fixture(scope="module")
def report(tiny_models: ModelsConfig) -> Report:
    return run(500, tiny_models, transcribe_every=5)


def test_500_damaged_media_pass_without_crash_hang_or_warning(report: Report) -> None:
    assert report.failures == []


def test_every_damaged_file_is_accounted_for_with_a_listed_reason(report: Report) -> None:
    assert set().union(*report.outcomes.values()) <= {"ok", *ENCODE_REASONS}
    kinds = [medium.kind for medium in mutated(500)]
    for kind, num_files in ((kind, kinds.count(kind)) for kind in ("image", "audio", "video")):
        assert num_files == report.outcomes[f"probe {kind}"].total() > 0
        assert num_files == report.outcomes[f"decode {kind}"].total()
    assert report.outcomes["decode video"].total() == report.outcomes["decode sound of video"].total()
    assert report.outcomes["encode video"] == report.outcomes["decode video"]
    assert report.outcomes["encode image"] == report.outcomes["decode image"]
    assert report.outcomes["encode audio"].total() > 20


def test_the_damage_is_real_and_not_all_there_is(report: Report) -> None:
    for kind in ("image", "audio"):
        outcomes = report.outcomes[f"decode {kind}"]
        assert outcomes["ok"] > 40 and outcomes["media_truncated"] > 40
    assert report.outcomes["decode video"]["ok"] > 5 and len(report.outcomes["decode video"]) > 1


def test_originals_are_whole() -> None:
    for medium in originals():
        assert probe(medium.content, medium.kind).media_kind == medium.kind, medium.name


def test_the_corpus_is_the_same_each_time_and_another_with_another_seed() -> None:
    first = list(mutated(30))
    assert list(mutated(30)) == first
    assert list(islice(mutated(40), 30)) == first
    assert sum(a.content == b.content for a, b in zip(first, mutated(30, seed=1), strict=True)) < 3


def test_every_way_of_damage_comes() -> None:
    names = " ".join(medium.name for medium in mutated(300))
    assert [way for way in MUTATIONS if way not in names] == []


def test_a_checked_chunk_keeps_its_checksum() -> None:
    (original,) = (medium for medium in originals() if medium.name == "plain PNG")
    ways = [MUTATIONS["a checked chunk changed"](original.content, np.random.default_rng(seed)) for seed in range(9)]
    changed = next(content for content in ways if content != original.content)
    at = 8
    while at < len(changed):
        size = int.from_bytes(changed[at : at + 4], "big")
        body = changed[at + 4 : at + 8 + size]
        assert zlib.crc32(body) == int.from_bytes(changed[at + 8 + size : at + 12 + size], "big")
        at += 12 + size


def test_a_crash_would_be_a_failure(tiny_models: ModelsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("tests.corpus.probe", broken)
    monkeypatch.setattr("tests.corpus.mutated", lambda *_: [Medium("a file", "video", b"bytes")])
    assert run(1, tiny_models).failures == ["a file: RuntimeError: broken"]
