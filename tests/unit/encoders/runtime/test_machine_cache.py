from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmrec_lib.encoders.runtime import machine_cache as memory
from mmrec_lib.encoders.runtime.machine_cache import cached


@dataclass(frozen=True)
class Sizes:
    width: int
    name: str | None


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "machine_cache", lambda: tmp_path)
    return tmp_path


def unexpected() -> Sizes:
    raise AssertionError("found out again")


def test_what_is_found_out_once_is_known(cache: Path) -> None:
    made = Sizes(3, None)
    assert cached(Sizes, ["a", 1, None], lambda: made) is made
    assert cached(Sizes, ["a", 1, None], unexpected) == made
    assert cached(Sizes, ["a", 2, None], lambda: Sizes(4, "b")) == Sizes(4, "b")
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".json"]


@pytest.mark.parametrize("content", ["", "{", '{"width": 1}', '{"width": 1, "name": "a", "more": 2}', "[]"])
def test_what_cannot_be_read_is_found_out_anew(cache: Path, content: str) -> None:
    cached(Sizes, [], lambda: Sizes(1, "a"))
    (file,) = cache.iterdir()
    file.write_text(content, encoding="utf-8")
    assert cached(Sizes, [], lambda: Sizes(2, "b")) == Sizes(2, "b")
    assert cached(Sizes, [], unexpected) == Sizes(2, "b")


def test_what_cannot_be_kept_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "machine_cache", lambda: cache / "absent")
    with caplog.at_level(logging.WARNING):
        assert cached(Sizes, [], lambda: Sizes(1, "a")) == Sizes(1, "a")
    assert "not kept" in caplog.text
