"""The search page: what it takes and refuses over HTTP, and what a browser makes of it where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from mmrec_lib.answering.searcher import FoundItem, Searcher, SearchResult
from mmrec_lib.errors import EncoderError
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.publishing import search_page
from mmrec_lib.publishing.search_page import MAX_MEDIUM_BYTES, SearchPage, create_search_app
from mmrec_lib.reporting.data import Card
from tests.unit.encoders.tiny_models import image_bytes

BROWSER = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)
HOSTILE = '<img src=x onerror="document.title=1">'


class Catalogue:
    """A searcher that finds two items and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def search(self, words: str | None, **more: Any) -> SearchResult:
        self.asked.append({"words": words, **more})
        if words == "broken":
            raise EncoderError("encoder x: its directory is gone; run `make models`")
        if words == "nothing":
            return SearchResult("nothing", (), "no_match", ())
        items = (FoundItem("i1", 1.5, {"words": 1.0, "text": 0.5}), FoundItem("i2", 0.5, {"images": 0.5}))
        return SearchResult("red shoes" if more["audio"] else words, items, None, ())


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture
def application(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    cards = {"i1": Card("i1", HOSTILE, image_bytes(3), "Shoes · 9.95"), "i2": Card("i2", image=b"no image")}
    monkeypatch.setattr(search_page, "load_cards", lambda lakehouse, ids: {name: cards[name] for name in ids})
    with DecoderChild() as decoder:
        page = SearchPage(cast("Searcher", catalogue), cast("Lakehouse", None), decoder)
        yield create_search_app(page, "shop")


@pytest.fixture
def client(application: FastAPI) -> TestClient:
    return TestClient(application)


def test_words_find_items_with_their_images_as_cards(client: TestClient, catalogue: Catalogue) -> None:
    found = client.post("/search", params={"words": "shoes", "user_id": "u1", "k": 5}).json()
    assert catalogue.asked == [
        {"words": "shoes", "image": None, "audio": None, "user_id": "u1", "market": None, "k": 5}
    ]
    assert [item["item_id"] for item in found["items"]] == ["i1", "i2"]
    assert found["items"][0]["image"].startswith("data:image/jpeg;base64,") and found["items"][1]["image"] is None
    assert [item["title"] for item in found["items"]] == [HOSTILE, "i2"]
    assert found["items"][0]["shares"] == {"words": 1.0, "text": 0.5}


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("image/png", "image"), ("Audio/WAV; rate=16000", "audio"), ("video/webm;codecs=opus", "audio")],
)
def test_a_photo_or_a_recording_is_the_body(
    client: TestClient, catalogue: Catalogue, content_type: str, kind: str
) -> None:
    answer = client.post("/search", content=b"bytes", headers={"Content-Type": content_type})
    assert answer.status_code == 200
    asked = catalogue.asked[0]
    assert {name: asked[name] for name in ("image", "audio")} == {"image": None, "audio": None, kind: b"bytes"}


def test_what_finds_nothing_says_why(client: TestClient) -> None:
    found = client.post("/search", params={"words": "nothing"}).json()
    assert found["items"] == [] and found["reason"].startswith("no item has one of its words")


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"params": {"words": " "}}, 422, "Words, a photo or a recording are needed"),
        ({"content": b"x", "headers": {"Content-Type": "text/html"}}, 415, "got 'text/html'"),
        ({"content": b"x"}, 415, "got ''"),
        ({"content": bytes(MAX_MEDIUM_BYTES + 1), "headers": {"Content-Type": "image/png"}}, 413, "at most 20 MB"),
        ({"params": {"words": "x", "k": 61}}, 422, "less than or equal to 60"),
        ({"params": {"words": "x", "k": 0}}, 422, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_searched_is_refused_and_says_what_would_be_right(
    client: TestClient, catalogue: Catalogue, request_: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/search", **request_)
    assert answer.status_code == status
    assert said in json.dumps(answer.json(), ensure_ascii=False)
    assert catalogue.asked == []


def test_a_search_that_fails_says_what_to_do(client: TestClient) -> None:
    answer = client.post("/search", params={"words": "broken"})
    assert answer.status_code == 503 and "run `make models`" in answer.json()["detail"]


def test_the_page_needs_no_network_and_lets_nothing_act(client: TestClient) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert re.findall(r"(?:src|href)\s*=\s*[\"'][^\"']", page.text) == []
    assert "innerHTML" not in page.text


@contextmanager
def served(application: FastAPI) -> Iterator[str]:
    """Address of an application that listens on a free port of this machine."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield "http:" + "//{}:{}".format(*server.servers[0].sockets[0].getsockname())
    finally:
        server.should_exit = True
        thread.join()


def looked_at(address: str, folder: Path) -> str:
    """What a browser has made of an address when its scripts have run."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    wait = ["--virtual-time-budget=20000", "--timeout=60000", "--dump-dom", address]
    return subprocess.run([*command, *wait], capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no browser on this machine")
def test_a_browser_searches_by_words_and_by_a_photo_and_shows_texts_of_the_store_as_texts(
    application: FastAPI, catalogue: Catalogue, tmp_path: Path
) -> None:
    drive = """<script>
      const file = new File([new Uint8Array([1, 2, 3])], "photo.png", {type: "image/png"}), chosen = new DataTransfer();
      chosen.items.add(file);
      at("file").files = chosen.files;
      at("file").dispatchEvent(new Event("change"));
    </script>"""

    @application.get("/photo")
    def photo() -> Response:
        return Response(
            TestClient(application).get("/").text.replace("</body>", f"{drive}</body>"), media_type="text/html"
        )

    with served(application) as address:
        by_words = looked_at(f"{address}/#words=red%20shoes&user_id=u7", tmp_path)
        by_photo = looked_at(f"{address}/photo", tmp_path)
    assert [(one["words"], one["image"], one["user_id"]) for one in catalogue.asked] == [
        ("red shoes", None, "u7"),
        (None, b"\x01\x02\x03", None),
    ]
    for page in (by_words, by_photo):
        assert re.findall(r'data-item="(\w+)"', page) == ["i1", "i2"] and ">2 items<" in page
        assert f'<p class="title">{html.escape(HOSTILE, quote=False)}</p>' in page
        assert page.count('<img src="data:image/jpeg') == 1 and "no image" in page
        assert "<title>Search</title>" in page
    assert '<div id="medium" hidden' in by_words and '<div id="medium">' in by_photo
