"""Predictions of a trained recipe as rows: over the texts of all owners, and over what was labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.operator import on_this_worker, portable
from mmrec_lib.embedding.owner_text import documents, texts_of_fields
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.weights.directory import local_directory
from mmrec_lib.fine_tuning.contents import as_image, first_images, image_features
from mmrec_lib.fine_tuning.labelled import Owner
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.examples import Example
from mmrec_lib.recipes.recipe import Prediction, RecipeModel, load_recipe

_BATCH = 256
_TYPES = {"confidence": pa.float64(), "start": pa.int32(), "end": pa.int32(), "is_pseudo_label": pa.bool_()}
_loaded: dict[str, RecipeModel] = {}


def text_id(text: str | None) -> str:
    """Identity of a labelled text; empty where the owner's own text was labelled."""
    return "" if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def labelled_predictions(
    found: Sequence[Prediction], owners: Sequence[Owner], config: RecipeConfig, revision: str
) -> pa.Table:
    """Rows of `recipe_prediction` of labelled contents."""
    rows = [
        {
            "recipe": config.name,
            "owner_kind": kind,
            "owner_id": owner_id,
            "item_id": item_id or "",
            "text_id": text_id(text),
            "label": one.label,
            "confidence": one.confidence,
            "revision": revision,
            "is_pseudo_label": False,
        }
        for one, (kind, owner_id, item_id, text) in zip(found, owners, strict=True)
        if (one.confidence or 0.0) >= config.min_confidence
    ]
    names = CONTRACTS["recipe_prediction"].content_columns
    schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in names])
    return pa.Table.from_pylist(rows, schema)


def owner_predictions(
    lakehouse: Lakehouse,
    config: RecipeConfig,
    models: ModelsConfig,
    owner_kinds: Sequence[str],
    revision: str,
    pseudo_owners: Sequence[tuple[str, str]] = (),
) -> DataFrame:
    """Rows of `text_entity` of a tagger, else of `recipe_prediction`, of all owners of some kinds.

    A tagger reads each field alone, the others read the fields as one document.

    Args:
        lakehouse: Tables.
        config: The recipe.
        models: Where models lie and how they are run.
        owner_kinds: Kinds of owners that are judged.
        revision: Revision of the trained recipe.
        pseudo_owners: Kind and id of the owners whose predictions it learned from; their rows are marked.
    """
    texts = texts_of_fields(lakehouse, config.fields, "recipe.fields").where(F.col("owner_kind").isin(*owner_kinds))
    table = CONTRACTS["text_entity" if config.kind == "tagger" else "recipe_prediction"]
    if config.kind == "tagger":
        rows = texts.where(F.col("field").isin(*config.fields)).select("owner_kind", "owner_id", "field", "text")
    else:
        rows = documents(texts, config.fields).withColumnRenamed("document", "text")
    if config.needs_images:
        owned = rows.join(first_images(lakehouse), ["owner_kind", "owner_id"])
        features = image_features(lakehouse, owned.select("image_id").distinct(), config, models)
        rows = owned.join(features, "image_id").select("owner_kind", "owner_id", "text", "image")
    judge = _Judge(config, portable(models), revision, table.input_schema, frozenset(pseudo_owners))
    return rows.mapInArrow(judge, table.input_schema)


class _Judge:
    """A trained recipe over rows, in a worker; the model is loaded once a process."""

    def __init__(
        self,
        config: RecipeConfig,
        models: ModelsConfig,
        revision: str,
        schema: StructType,
        pseudo_owners: frozenset[tuple[str, str]],
    ) -> None:
        self._config, self._models, self._revision, self._names = config, models, revision, schema.names
        self._pseudo_owners = pseudo_owners

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        models = on_this_worker(self._models)
        torch.set_num_threads(max(models.threads, 1))
        model = self._model(models)
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH):
                rows = batch.slice(start, _BATCH).to_pylist()
                examples = [
                    Example(row["owner_id"], row["text"], image=as_image(row.get("image"), self._config))
                    for row in rows
                ]
                made: list[dict[str, Any]] = []
                for row, one in zip(rows, model.predict(examples, models.device), strict=True):
                    made += self._rows(row, one)
                if made:
                    yield self._batch(made)

    def _rows(self, row: dict[str, Any], one: Prediction) -> list[dict[str, Any]]:
        shared = {
            "recipe": self._config.name,
            "revision": self._revision,
            "item_id": "",
            "text_id": "",
            "is_pseudo_label": (row["owner_kind"], row["owner_id"]) in self._pseudo_owners,
            **row,
        }
        if not one.spans:
            is_sure = one.label is not None and (one.confidence or 0.0) >= self._config.min_confidence
            return [{**shared, "label": one.label, "confidence": one.confidence}] if is_sure else []
        return [
            {
                **shared,
                "start": span.start,
                "end": span.end,
                "label": span.label,
                "text": row["text"][span.start : span.end],
                "confidence": confidence,
            }
            for span, confidence in one.spans
            if confidence >= self._config.min_confidence
        ]

    def _batch(self, rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
        arrays = [pa.array([row[name] for row in rows], _TYPES.get(name, pa.string())) for name in self._names]
        return pa.RecordBatch.from_arrays(arrays, names=self._names)

    def _model(self, models: ModelsConfig) -> RecipeModel:
        key = f"{self._config.name}/{self._revision}/{models.device}"
        if key not in _loaded:
            _loaded.clear()
            model = load_recipe(local_directory(models.root, self._config.directory))
            model.network.to(models.device)
            _loaded[key] = model
        return _loaded[key]
