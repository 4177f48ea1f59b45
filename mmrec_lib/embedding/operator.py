"""The batch inference operator: any encoder over any table.

A worker process loads a model once and keeps it. What a worker holds is bounded in bytes and rows; inside that bound
texts are sorted by length and images are decoded ahead of the model. Keys are carried along. A row that cannot be
encoded comes out with an error and a null vector.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import ArrayType, FloatType, IntegerType, StringType, StructField, StructType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.batches import Rows, bounded, text_arrays, vector_array
from mmrec_lib.embedding.chunks import tasks_worth
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec, make_encoder, make_extractor
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.spec import Encoder, EncodeResult, EncoderInput, EncoderSpec, Extractor
from mmrec_lib.errors import ConfigError, EncoderError
from mmrec_lib.lakehouse.kept_media import read_kept
from mmrec_lib.lakehouse.session import num_tasks
from mmrec_lib.location import absolute
from mmrec_lib.media.images import DecodeOnce, continued

VECTOR_FIELDS = (
    StructField("vector", ArrayType(FloatType())),
    StructField("dim", IntegerType()),
    StructField("error", StringType()),
)
# What an extractor gives: the columns of `media_text` that it fills.
TEXT_FIELDS = tuple(
    StructField(column.name, column.type)
    for column in CONTRACTS["media_text"].columns
    if column.name in ("text", "language", "confidence", "spans", "error")
)


@dataclass(frozen=True)
class Columns:
    """The columns of a table that go through a model.

    Attributes:
        input: Texts (string) or original bytes of media (binary).
        uri: Where the bytes are in rows whose input is null; None when every row brings its bytes.
        keys: Columns that are carried along.
        continued: The factor of `ContinuedImage` for images; 1 leaves them as they are.
    """

    input: str
    uri: str | None = None
    keys: tuple[str, ...] = ("content_id",)
    continued: float = 1.0


TEXT_COLUMNS = Columns("text")
MEDIA_COLUMNS = Columns("content", uri="uri")


@dataclass(frozen=True)
class Inference:
    """One model over one table: everything that a worker needs to know.

    Attributes:
        encoder: The model.
        models: Where models lie and how they are run.
        spec: Identity of the model as the driver saw it; a worker that finds another one refuses to go on.
        columns: What goes in.
        portions: How much a worker holds at once.
    """

    encoder: EncoderConfig
    models: ModelsConfig
    spec: EncoderSpec
    columns: Columns
    portions: EmbeddingConfig


# Images that all models see before the next ones are decoded: a multiple of what a model sees at once.
_SHARED_IMAGES = 16

_Partition = Callable[[Iterator[pa.RecordBatch], Inference], Iterator[pa.RecordBatch]]


def encode_table(
    rows: DataFrame,
    encoder: EncoderConfig,
    models: ModelsConfig,
    columns: Columns,
    portions: EmbeddingConfig,
    num_rows: int | None = None,
) -> DataFrame:
    """Vectors of a column of a table: the face for jobs.

    The result is computed anew each time it is read: write it down before counting or merging it.

    Args:
        rows: Table with these columns.
        encoder: Model of kind text (a string column), image (a binary column) or joint (either).
        models: Where models lie and how they are run.
        columns: What goes in.
        portions: How much a worker holds at once, and how many tasks there are.
        num_rows: Rows at most, where that is known: few of them are not divided among workers that each load the model.

    Returns:
        Key columns, `vector array<float>`, `dim int` and `error string`: either vector and dim or error is null.

    Raises:
        EncoderError: When the model's directory is missing.
        ConfigError: When the input column is missing or of the wrong type.
    """
    task = _inference(rows, encoder, models, columns, portions)
    return _apply(rows, task, _encode_partition, VECTOR_FIELDS, num_rows)


def extract_table(
    rows: DataFrame,
    encoder: EncoderConfig,
    models: ModelsConfig,
    columns: Columns,
    portions: EmbeddingConfig,
    num_rows: int | None = None,
) -> DataFrame:
    """Words in a column of media; the twin of `encode_table` for models of kind speech.

    Returns:
        Key columns, `text`, `language`, `confidence`, `spans` and `error`: either text or error is null.

    Raises:
        EncoderError: When the model's directory is missing.
        ConfigError: When the input column is missing or of the wrong type.
    """
    task = _inference(rows, encoder, models, columns, portions)
    return _apply(rows, task, _extract_partition, TEXT_FIELDS, num_rows)


def infer_together(
    rows: DataFrame,
    encoders: Sequence[EncoderConfig],
    models: ModelsConfig,
    columns: Columns,
    portions: EmbeddingConfig,
    makes: Literal["vectors", "text"],
    num_rows: int | None = None,
) -> DataFrame:
    """Results of several models over one column of images, each of which is decoded once for all of them.

    Args:
        rows: Table with these columns and `wanted map<string, int>`: for each model that is to see a row its id, and
            how often it has tried before.
        encoders: Models that read images, all encoders or all extractors.
        models: Where models lie and how they are run.
        columns: What goes in.
        portions: How much a worker holds at once, and how many tasks there are.
        makes: What the models make: encoders vectors, extractors text.

    Returns:
        Key columns, `encoder_id`, `num_attempts` and what `encode_table` or `extract_table` gives; one row for each
        model and row that it is to see.

    Raises:
        EncoderError: When the directory of a model is missing.
        ConfigError: When the input column is missing or of the wrong type.
    """
    tasks = [_inference(rows, encoder, models, columns, portions) for encoder in encoders]
    fields = TEXT_FIELDS if makes == "text" else VECTOR_FIELDS
    keys = rows.select(*columns.keys).schema.fields
    schema = StructType(
        [*keys, StructField("encoder_id", StringType()), StructField("num_attempts", IntegerType()), *fields]
    )
    inputs = [columns.input] if columns.uri is None else [columns.input, columns.uri]
    chosen = rows.select(*columns.keys, *inputs, "wanted")
    # By key, so that a task that is tried again gets the same rows.
    return chosen.repartition(_num_tasks(rows, tasks[0], num_rows), *columns.keys).mapInArrow(
        lambda batches: _infer_partition(batches, tasks, makes == "text"), schema
    )


def encode_udf(encoder: EncoderConfig, models: ModelsConfig) -> Callable[[Column | str], Column]:
    """A function of a column of texts or images that gives a column of vectors: the face for notebooks.

    The vector is null where the input cannot be encoded. Use as `rows.select(encode_udf(encoder, models)("title"))`.

    Raises:
        EncoderError: When the model's directory is missing.
    """
    import pandas as pd  # Workers of jobs do without it.

    models = portable(models)
    spec = encoder_spec(encoder, models)

    def vectors(inputs: Iterator[pd.Series]) -> Iterator[pd.Series]:
        loaded = _encoder(encoder, models, spec)
        for batch in inputs:
            result = loaded.encode([_as_input(value) for value in batch])
            yield pd.Series(
                [None if error else vector for vector, error in zip(result.vectors, result.errors, strict=True)],
                dtype=object,
            )

    annotations = {"inputs": Iterator[pd.Series], "return": Iterator[pd.Series]}
    vectors.__annotations__ = annotations
    make: Any = pandas_udf  # Its stubs know no function with type hints.
    apply: Callable[[Column | str], Column] = make(vectors, returnType=ArrayType(FloatType()))
    return apply


def _inference(
    rows: DataFrame, encoder: EncoderConfig, models: ModelsConfig, columns: Columns, portions: EmbeddingConfig
) -> Inference:
    models = portable(models)
    spec = encoder_spec(encoder, models)
    needed = {"text": ("string",), "text_or_image": ("string", "binary")}.get(spec.input_kind, ("binary",))
    got = dict(rows.dtypes).get(columns.input, "no such column")
    if got not in needed:
        raise ConfigError(
            f"Encoder `{encoder.id}`: column `{columns.input}` of type {' or '.join(needed)} is needed, got {got}."
        )
    return Inference(encoder, models, spec, columns, portions)


def _apply(
    rows: DataFrame, task: Inference, function: _Partition, fields: Sequence[StructField], num_rows: int | None
) -> DataFrame:
    columns, keys = task.columns, task.columns.keys
    inputs = [columns.input] if columns.uri is None else [columns.input, columns.uri]
    chosen = rows.select(*keys, *(name for name in inputs if name not in keys))
    schema = StructType([*chosen.select(*keys).schema.fields, *fields])
    # By key, so that a task that is tried again gets the same rows.
    return chosen.repartition(_num_tasks(rows, task, num_rows), *keys).mapInArrow(
        lambda batches: function(batches, task), schema
    )


def _num_tasks(rows: DataFrame, task: Inference, num_rows: int | None) -> int:
    wanted, is_configured = num_tasks(rows, task.portions.num_partitions), task.portions.num_partitions is not None
    return wanted if num_rows is None or is_configured else min(wanted, tasks_worth(task.spec.input_kind, num_rows))


def portable(models: ModelsConfig) -> ModelsConfig:
    """The same models with a root that does not depend on a worker's working directory."""
    return models.model_copy(update={"root": absolute(models.root)})


@dataclass
class _Worker:
    """Models that this worker process has loaded: those of one task, because a worker runs one task at a time."""

    encoders: dict[tuple[str, str], Encoder] = field(default_factory=dict)
    extractors: dict[tuple[str, str], Extractor] = field(default_factory=dict)

    def keep_only(self, revisions: Collection[str]) -> None:
        """Forget the models that a task does not need."""
        self.encoders = {key: one for key, one in self.encoders.items() if key[0] in revisions}
        self.extractors = {key: one for key, one in self.extractors.items() if key[0] in revisions}


_worker = _Worker()


def _encoder(
    encoder: EncoderConfig, models: ModelsConfig, spec: EncoderSpec, together_with: Collection[str] = ()
) -> Encoder:
    models = on_this_worker(models)
    key = (spec.revision, models.device)
    if key not in _worker.encoders:
        made = make_encoder(encoder, models)
        check_same(made.spec, spec)
        _worker.keep_only(together_with)
        made.load(models.device)
        _worker.encoders[key] = made
    return _worker.encoders[key]


def _extractor(
    encoder: EncoderConfig, models: ModelsConfig, spec: EncoderSpec, together_with: Collection[str] = ()
) -> Extractor:
    models = on_this_worker(models)
    key = (spec.revision, models.device)
    if key not in _worker.extractors:
        made = make_extractor(encoder, models)
        check_same(made.spec, spec)
        _worker.keep_only(together_with)
        made.load(models.device)
        _worker.extractors[key] = made
    return _worker.extractors[key]


def on_this_worker(models: ModelsConfig) -> ModelsConfig:
    """The same models with the device and the cores that Spark gave to this task."""
    task = TaskContext.get()
    if task is None:
        return on_this_machine(models)
    gpu = task.resources().get("gpu")
    return on_this_machine(models, cores=task.cpus(), gpu=gpu.addresses[0] if gpu is not None else None)


def check_same(found: EncoderSpec, expected: EncoderSpec) -> None:
    """Refuse a model that is not the one the driver saw.

    Raises:
        EncoderError: When the revisions differ.
    """
    if found != expected:
        raise EncoderError(
            f"Model `{expected.id}`: every worker must see revision {expected.revision}, one sees {found.revision}. "
            "models.root must be the same folder everywhere, or a URI."
        )


def _encode_partition(batches: Iterator[pa.RecordBatch], task: Inference) -> Iterator[pa.RecordBatch]:
    for portion in _portions(batches, task):
        result = _encoder(task.encoder, task.models, task.spec).encode(_inputs(portion, task))
        yield _with_keys(portion, task, **_vector_arrays(result))


def _vector_arrays(result: EncodeResult) -> dict[str, pa.Array]:
    """Columns vector, dim and error."""
    is_valid = [error is None for error in result.errors]
    dims = [result.vectors.shape[1] if valid else None for valid in is_valid]
    return {
        "vector": vector_array(result.vectors, is_valid),
        "dim": pa.array(dims, pa.int32()),
        "error": pa.array(result.errors, pa.string()),
    }


def _extract_partition(batches: Iterator[pa.RecordBatch], task: Inference) -> Iterator[pa.RecordBatch]:
    for portion in _portions(batches, task):
        found = _extractor(task.encoder, task.models, task.spec).extract(_inputs(portion, task))
        yield _with_keys(portion, task, **text_arrays(found))


def _infer_partition(
    batches: Iterator[pa.RecordBatch], tasks: Sequence[Inference], makes_text: bool
) -> Iterator[pa.RecordBatch]:
    """Each image is decoded once, and dropped when all models have seen it."""
    together = {task.spec.revision for task in tasks}
    for portion in _portions(batches, tasks[0]):
        for start in range(0, portion.num_rows, _SHARED_IMAGES):
            group = portion.slice(start, _SHARED_IMAGES)
            images = [DecodeOnce(image) if isinstance(image, bytes) else image for image in _inputs(group, tasks[0])]
            wanted: list[dict[str, int]] = [dict(pairs) for pairs in group.column("wanted").to_pylist()]
            for task in tasks:
                seen = [row for row, attempts in enumerate(wanted) if task.spec.id in attempts]
                if not seen:
                    continue
                inputs, attempts = [images[row] for row in seen], [wanted[row][task.spec.id] for row in seen]
                if makes_text:
                    extractor = _extractor(task.encoder, task.models, task.spec, together)
                    made = text_arrays(extractor.extract(inputs))
                else:
                    encoder = _encoder(task.encoder, task.models, task.spec, together)
                    made = _vector_arrays(encoder.encode(inputs))
                yield _with_keys(
                    group.select(task.columns.keys).take(seen),
                    task,
                    encoder_id=pa.array([task.spec.id] * len(seen), pa.string()),
                    num_attempts=pa.array(attempts, pa.int32()),
                    **made,
                )


def _portions(batches: Iterator[pa.RecordBatch], task: Inference) -> Iterator[pa.Table]:
    return bounded(batches, task.columns.input, task.portions.batch_bytes, task.portions.batch_rows)


def _with_keys(portion: pa.Table, task: Inference, **made: pa.Array) -> pa.RecordBatch:
    arrays = [portion.column(name).combine_chunks() for name in task.columns.keys]
    return pa.RecordBatch.from_arrays([*arrays, *made.values()], names=[*task.columns.keys, *made])


def _inputs(portion: pa.Table, task: Inference) -> Sequence[EncoderInput]:
    columns, column = task.columns, portion.column(task.columns.input)
    uris = [None] * len(column) if columns.uri is None else portion.column(columns.uri).to_pylist()
    return continued(Rows(column, lambda row: _read(uris[row])), columns.continued)


def _read(uri: str | None) -> bytes | None:
    """Bytes behind a reference; None when they are gone or others, which the encoder turns into an error row.

    Anything else that goes wrong, such as a storage that does not answer, ends the task, and Spark tries it again: an
    error row would say for good that the medium is missing.
    """
    return None if uri is None else read_kept(uri)


def _as_input(value: object) -> EncoderInput:
    # Pandas gives bytes as bytearray in some versions, and NaN for a missing string.
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value if isinstance(value, str | bytes) else None
