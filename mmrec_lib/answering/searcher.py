"""Search in a notebook or a service: one query after the other over the same index, by the code of the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from mmrec_lib.answering.asked import with_users
from mmrec_lib.answering.index import load_answer_index, load_search_index
from mmrec_lib.answering.rows import AnsweringTask, answer_batch
from mmrec_lib.answering.vectors import TEXT, field_of_look, question_encoder, searched_encoders
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.run import selected_extractors
from mmrec_lib.embedding.texts import normalise
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder, make_extractor
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.spec import Encoder, EncoderSpec, Extractor
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media.images import ContinuedImage
from mmrec_lib.scoring.published import published_slices
from mmrec_lib.scoring.shown_items import Controls, load_controls
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.search.reasons import EmptyReason
from mmrec_lib.showing.config import ShowingConfig

_ASKED = "query_id string, user_id string, market string"
_MAP = pa.map_(pa.string(), pa.string())
_VECTORS = pa.map_(pa.string(), pa.list_(pa.float32()))


@dataclass(frozen=True)
class FoundItem:
    """An item that a query finds; see the table query_topk.

    Attributes:
        item_id: The item.
        score: Comparable within a query only.
        shares: Parts of the score by way of finding.
    """

    item_id: str
    score: float
    shares: Mapping[str, float]


@dataclass(frozen=True)
class SearchResult:
    """Items and answers of a query.

    Attributes:
        words: Words that were searched, written and heard; None without.
        items: Items, best first.
        reason: Why there are none, see `EmptyReason`; None where there are some.
        answers: Ids of support answers and their confidence, nearest first.
    """

    words: str | None
    items: tuple[FoundItem, ...]
    reason: str | None
    answers: tuple[tuple[str, float], ...]


class Searcher:
    """An open catalogue; made by `open_searcher`, it keeps the index and the models that were used."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        models: ModelsConfig,
        embedding: EmbeddingConfig,
        config: SearchConfig,
        showing: ShowingConfig,
    ) -> None:
        """Read the index; see `open_searcher`."""
        self._lakehouse, self._models, self._showing = lakehouse, on_this_machine(models), showing
        self._specs = searched_encoders(models, embedding, config)
        self._extractors = selected_extractors(models, embedding)
        published = published_slices(lakehouse).get("user_vector")
        self._version = None if published is None else published.version
        self._controls: Controls = load_controls(lakehouse, showing)
        self._index = load_search_index(lakehouse, self._specs, config, showing, self._controls, self._version)
        self._answers = load_answer_index(lakehouse, list(self._specs))
        question = question_encoder(list(self._specs)) if self._answers is not None else None
        self._task = AnsweringTask("", config, None if question is None else question.id)
        self._encoders: dict[str, Encoder] = {}
        self._listener: Extractor | None = None

    def search(
        self,
        words: str | None = None,
        *,
        image: bytes | None = None,
        audio: bytes | None = None,
        user_id: str | None = None,
        market: str | None = None,
        k: int | None = None,
    ) -> SearchResult:
        """Items and answers for words, an image, a recording, or several of them.

        Args:
            words: What is asked.
            image: Bytes of an image file.
            audio: Bytes of a recording, which is transcribed.
            user_id: Who asks; without or unknown, a visitor without a name.
            market: Market in which to search; has an effect where `showing.market_attribute` is set.
            k: Items wanted; `search.k` where not given.
        """
        problem, heard = self._heard(audio)
        text = normalise(pa.array([" ".join(part for part in (words, heard) if part)], pa.string()))[0].as_py()
        if text is not None and not any(character.isalnum() for character in text):
            text = None
        vectors = []
        looks = [] if image is None else [(ContinuedImage(image, look), look) for look in self._task.config.photo_looks]
        asked = [(text, TEXT, "text"), *((content, field_of_look(look), "image") for content, look in looks)]
        for content, field, inputs in asked:
            for spec in self._specs if content is not None else ():
                if inputs not in spec.input_kind:
                    continue
                result = self._encoder(spec).encode([content])
                if result.errors[0] is None:
                    vectors.append((f"{field} {spec.id}", result.vectors[0].tolist()))
                else:
                    problem = str(EmptyReason.MEDIA_UNREADABLE)
        columns = {
            "query_id": pa.array([""]),
            "words": pa.array([text], pa.string()),
            "k": pa.array([k], pa.int32()),
            "vectors": pa.array([vectors], _VECTORS),
            "is_cut": pa.array([False]),
            "problem": pa.array([problem], pa.string()),
            **self._asker(user_id, market),
        }
        row = answer_batch(pa.RecordBatch.from_pydict(columns), self._index, self._answers, self._task).to_pylist()[0]
        items = zip(row["item_ids"], row["scores"], row["shares"], strict=True)
        return SearchResult(
            words=text,
            items=tuple(FoundItem(item_id, score, dict(shares)) for item_id, score, shares in items),
            reason=row["reason"],
            answers=tuple(zip(row["answer_ids"], row["confidences"], strict=True)),
        )

    def _asker(self, user_id: str | None, market: str | None) -> dict[str, pa.Array]:
        name = self._showing.market_attribute
        if user_id is None:
            own = [(name, market)] if name is not None and market is not None else None
            return {"attributes": pa.array([own], _MAP), "user_vector": pa.nulls(1, pa.list_(pa.float32()))}
        asked = self._lakehouse.spark.createDataFrame([("", user_id, market)], _ASKED)
        rows = with_users(self._lakehouse, asked, self._controls, name, self._version).drop(*asked.columns)
        (batch,) = (one for one in self._lakehouse.stream_arrow("asker", rows.coalesce(1)) if one.num_rows)
        return {column: batch[column] for column in batch.schema.names}

    def _heard(self, audio: bytes | None) -> tuple[str | None, str | None]:
        """The reason for which a recording tells nothing, and what is said in it."""
        if audio is None:
            return None, None
        spec = next(
            (one.spec for one in self._extractors if one.media == "audio" and one.spec.modality == "transcript"), None
        )
        if spec is None:
            return str(EmptyReason.NOT_READ), None
        if self._listener is None:
            self._listener = make_extractor(self._models.encoders[spec.id], self._models)
            self._listener.load(self._models.device)
        (found,) = self._listener.extract([audio])
        if found.error is not None:
            return str(EmptyReason.MEDIA_UNREADABLE), None
        return (None, found.text) if found.text else (str(EmptyReason.SILENT), None)

    def _encoder(self, spec: EncoderSpec) -> Encoder:
        if spec.id not in self._encoders:
            made = make_encoder(self._models.encoders[spec.id], self._models)
            made.load(self._models.device)
            self._encoders[spec.id] = made
        return self._encoders[spec.id]


def open_searcher(
    lakehouse: Lakehouse,
    models: ModelsConfig | None = None,
    *,
    embedding: EmbeddingConfig | None = None,
    config: SearchConfig | None = None,
    showing: ShowingConfig | None = None,
) -> Searcher:
    """A catalogue to search in a notebook; reading it takes seconds, each query much less.

    Args:
        lakehouse: The store, opened for reading.
        models: Where models lie.
        embedding: Encoders of the fields, as the store's configuration has them.
        config: Settings of search.
        showing: Rules of what may be shown.

    Raises:
        NoDataError: When the store has no snapshot yet.
        EncoderError: When a model's directory is missing.
        ShowingError: When a rule is wrong or removes too much.
    """
    return Searcher(
        lakehouse,
        models or ModelsConfig(),
        embedding or EmbeddingConfig(),
        config or SearchConfig(),
        showing or ShowingConfig(),
    )
