"""A page on which a person searches a store by words, a photo or a recording: a FastAPI application for one machine."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from importlib.resources import files
from typing import Annotated, NamedTuple

from fastapi import FastAPI, HTTPException, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from mmrec_lib.answering.searcher import Searcher, SearchResult
from mmrec_lib.errors import MmrecError
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.publishing.people import load_cards
from mmrec_lib.reporting.thumbnails import Thumbnails
from mmrec_lib.search.reasons import MEANINGS, EmptyReason
from mmrec_lib.section import Section

MAX_MEDIUM_BYTES = 20 * 1024 * 1024
"""Largest photo or recording that the page takes."""
MAX_ITEMS = 60
# All images of one answer; see `Thumbnails`.
_IMAGE_BYTES = 4 * 1024 * 1024
_MAX_CARDS = 2_000
_MAX_CHARACTERS = 20_000
# Nothing comes from elsewhere, and no text of the store can act.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ShownItem(Section):
    """An item that was found, as the page shows it.

    Attributes:
        item_id: Key.
        title: Name, or the key.
        caption: A few words under the title; empty without.
        image: `data:` address of the first image, small; null without one.
        score: Comparable within a query only.
        shares: Parts of the score by way of finding.
    """

    item_id: str
    title: str
    caption: str
    image: str | None
    score: float
    shares: dict[str, float]


class ShownAnswer(Section):
    """A support answer.

    Attributes:
        answer_id: Key.
        question: The question that it answers.
        answer: The answer.
        confidence: See docs/search.md.
    """

    answer_id: str
    question: str
    answer: str
    confidence: float


class Found(Section):
    """Items and answers that a search finds.

    Attributes:
        words: Words that were searched, written and heard; null without.
        reason: Why there are no items, in words; null where there are some.
        items: Items, best first.
        answers: Support answers, nearest first.
    """

    words: str | None
    reason: str | None
    items: tuple[ShownItem, ...] = Field(default=())
    answers: tuple[ShownAnswer, ...] = Field(default=())


class _Card(NamedTuple):
    """A title, a caption and a small image: the images of the store are not kept."""

    title: str
    caption: str
    image: str | None


class SearchPage:
    """Searches, and looks up what is shown of items; one search at a time, as models and Spark are shared.

    Args:
        searcher: The open catalogue.
        lakehouse: The store of the catalogue.
        decoder: Decodes images in a process of its own.
    """

    def __init__(self, searcher: Searcher, lakehouse: Lakehouse, decoder: DecoderChild) -> None:
        """Nothing is read yet; see the class for the arguments."""
        self._searcher, self._lakehouse = searcher, lakehouse
        self._decoder = decoder
        self._cards: dict[str, _Card] = {}
        self._lock = threading.Lock()

    def search(
        self, words: str | None, medium: bytes | None, kind: str, user_id: str | None, market: str | None, k: int
    ) -> Found:
        """Search by words, by a medium, or by both.

        Args:
            words: What is asked.
            medium: Bytes of a photo or a recording.
            kind: Kind of the medium: image or audio.
            user_id: Who asks.
            market: Market in which to search.
            k: Items wanted.
        """
        media = {kind: medium} if medium is not None else {}
        with self._lock:
            result = self._searcher.search(
                words, image=media.get("image"), audio=media.get("audio"), user_id=user_id, market=market, k=k
            )
            cards = self._known_cards(item.item_id for item in result.items)
            return Found(
                words=result.words,
                reason=None if result.reason is None else MEANINGS[EmptyReason(result.reason)],
                items=tuple(
                    ShownItem(
                        item_id=item.item_id,
                        title=cards[item.item_id].title,
                        caption=cards[item.item_id].caption,
                        image=cards[item.item_id].image,
                        score=item.score,
                        shares=dict(item.shares),
                    )
                    for item in result.items
                ),
                answers=self._answers(result),
            )

    def _known_cards(self, item_ids: Iterable[str]) -> dict[str, _Card]:
        wanted = list(item_ids)
        if len(self._cards) > _MAX_CARDS:
            self._cards.clear()
        missing = [item_id for item_id in wanted if item_id not in self._cards]
        thumbnails = Thumbnails(_IMAGE_BYTES, self._decoder)
        for item_id, card in load_cards(self._lakehouse, missing).items() if missing else ():
            self._cards[item_id] = _Card(card.title or item_id, card.caption or "", thumbnails.address(card.image))
        return {item_id: self._cards[item_id] for item_id in wanted}

    def _answers(self, result: SearchResult) -> tuple[ShownAnswer, ...]:
        if not result.answers:
            return ()
        answers = self._lakehouse.read("answer")
        wanted = [answer_id for answer_id, _ in result.answers]
        rows = answers.where(answers["answer_id"].isin(wanted)).select("answer_id", "question", "answer").collect()
        known = {row["answer_id"]: row for row in rows}
        return tuple(
            ShownAnswer(
                answer_id=answer_id,
                question=known[answer_id]["question"],
                answer=known[answer_id]["answer"],
                confidence=confidence,
            )
            for answer_id, confidence in result.answers
            if answer_id in known
        )


def create_search_app(page: SearchPage, name: str) -> FastAPI:
    """An application with the page at `/`, and `POST /search`, which the page asks.

    The body of `POST /search` is the photo (`Content-Type: image/…`) or the recording (`audio/…`), or empty; all else
    is in the address: `words`, `user_id`, `market` and `k`.

    Args:
        page: What searches.
        name: Name of the store, for people.
    """
    application = FastAPI(title=f"mmrec: {name}", docs_url=None, redoc_url=None)
    template = files("mmrec_lib.publishing").joinpath("templates/search.html").read_text(encoding="utf-8")

    @application.get("/")
    def start() -> Response:
        """The page."""
        return Response(template, media_type="text/html", headers=_HEADERS)

    @application.post("/search")
    async def search(
        request: Request,
        words: Annotated[str | None, Query(max_length=_MAX_CHARACTERS)] = None,
        user_id: Annotated[str | None, Query(max_length=1_000)] = None,
        market: Annotated[str | None, Query(max_length=1_000)] = None,
        k: Annotated[int, Query(ge=1, le=MAX_ITEMS)] = 24,
    ) -> Found:
        """Items and answers for words, a photo or a recording."""
        medium, kind = await _medium(request)
        if medium is None and not (words or "").strip():
            raise HTTPException(422, "Words, a photo or a recording are needed, and there are none.")
        try:
            return await run_in_threadpool(page.search, words, medium, kind, user_id or None, market or None, k)
        except MmrecError as error:
            raise HTTPException(503, str(error)) from error

    return application


async def _medium(request: Request) -> tuple[bytes | None, str]:
    """The medium in the body and its kind; no more than the page takes is ever held."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_MEDIUM_BYTES:
            raise HTTPException(413, f"A photo or recording of at most {MAX_MEDIUM_BYTES >> 20} MB is needed.")
    if not body:
        return None, ""
    given = request.headers.get("content-type", "")
    kind = given.partition("/")[0].strip().lower()
    # Browsers record sound into a container of videos.
    kind = "audio" if kind == "video" else kind
    if kind not in ("image", "audio"):
        raise HTTPException(415, f"A photo (image/…) or a recording (audio/…) is needed, got {given[:80]!r}.")
    return bytes(body), kind
