"""One side of an encoding ratio: a process that loads its model once, then runs whenever it is told.

Started by `tests.benchmarks.encode`, which writes a line for each run and reads a line of JSON for each answer.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import TEXT_COLUMNS, Columns, encode_table, extract_table
from mmrec_lib.encoders.config import ModelsConfig
from tests.benchmarks.pinned_daemon import CORES_VARIABLE
from tests.benchmarks.processes import cpu_seconds, peak_mb, pin, python_workers

Run = Callable[[], dict[str, float]]
IMAGES = Columns("content")
_KINDS = {"text": "all-minilm-l6-v2", "image": "efficientnet-lite0", "speech": "whisper-tiny-en"}
_SIDE_PX, _SHORT_PX = 224, 256


@dataclass(frozen=True)
class Options:
    """What a side is told when it starts.

    Attributes:
        side: Name in `SIDES`.
        kind: text, image or speech.
        rows: Parquet file of the inputs.
        num_rows: How many of them are used.
        models: Folder of the packaged models.
        scratch: Folder for tables.
        cores: Cores of the Python side; the JVM takes the others when there are any.
    """

    side: str
    kind: str
    rows: str
    num_rows: int
    models: str
    scratch: str
    cores: tuple[int, ...]

    @property
    def models_config(self) -> ModelsConfig:
        """One thread computes, as the side has one core a worker; two decode on it."""
        return ModelsConfig(root=self.models, threads=1, decode_threads=2)

    def inputs(self) -> list[Any]:
        """Texts or bytes."""
        column = "text" if self.kind == "text" else "content"
        values: list[Any] = pq.read_table(self.rows, columns=[column]).column(0).slice(0, self.num_rows).to_pylist()
        return values


def bare(options: Options) -> Run:
    """The encoder of mmrec in a loop over inputs in memory: no Spark, no files."""
    from mmrec_lib.encoders.registry import make_encoder

    models, inputs = options.models_config, options.inputs()
    encoder = make_encoder(models.encoders[_KINDS[options.kind]], models)
    encoder.load()
    encoder.encode(inputs[:64])
    portion = EmbeddingConfig().batch_rows

    def run() -> dict[str, float]:
        start = time.perf_counter()
        for first in range(0, len(inputs), portion):
            encoder.encode(inputs[first : first + portion])
        return {"rows": len(inputs), "seconds": time.perf_counter() - start}

    return run


def naive_text(options: Options) -> Run:
    """What is written first: float32, batches of 32 texts as they come, padded to the longest."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    folder, texts = Path(options.models, _KINDS["text"]), options.inputs()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def run() -> dict[str, float]:
        start = time.perf_counter()
        for first in range(0, len(texts), 32):
            batch = tokenizer(
                texts[first : first + 32], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy()
        return {"rows": len(texts), "seconds": time.perf_counter() - start}

    return run


def _naive_pixels(content: bytes) -> np.ndarray:
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = _SHORT_PX / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - _SIDE_PX) // 2, (image.height - _SIDE_PX) // 2
    pixels = np.asarray(image.crop((left, top, left + _SIDE_PX, top + _SIDE_PX)), np.float32)
    return (pixels / 255 - 0.5) / 0.5


def naive_image(options: Options) -> Run:
    """What is written first: PIL, float32, one image at a time."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(Path(options.models, _KINDS["image"])).eval()
    images = options.inputs()

    def run() -> dict[str, float]:
        start = time.perf_counter()
        for content in images:
            pixels = torch.from_numpy(_naive_pixels(content)).permute(2, 0, 1)[None]
            with torch.inference_mode():
                model(pixel_values=pixels).pooler_output.numpy()
        return {"rows": len(images), "seconds": time.perf_counter() - start}

    return run


def job(options: Options) -> Run:
    """The operator of mmrec in a Spark job, from a Delta table to a Delta table."""
    encoder, models = options.models_config.encoders[_KINDS[options.kind]], options.models_config
    columns = TEXT_COLUMNS if options.kind == "text" else IMAGES
    apply = extract_table if options.kind == "speech" else encode_table
    portions = EmbeddingConfig(num_partitions=len(options.cores))
    return _spark_run(options, lambda rows: apply(rows, encoder, models, columns, portions))


def pattern(options: Options) -> Run:
    """What is commonly published: a UDF decodes into a column of numbers, `predict_batch_udf` reads that column."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.pandas.functions import pandas_udf
    from pyspark.sql.types import ArrayType, FloatType

    folder = str(Path(options.models, _KINDS["image"]))

    def decode(contents: pd.Series) -> pd.Series:
        return contents.map(lambda content: _naive_pixels(bytes(content)).reshape(-1))

    decode.__annotations__ = {"contents": pd.Series, "return": pd.Series}

    def make_predict() -> Callable[[np.ndarray], np.ndarray]:
        import torch
        from transformers import AutoModel

        torch.set_num_threads(1)
        model = AutoModel.from_pretrained(folder).eval()

        def predict(pixels: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                batch = torch.from_numpy(np.asarray(pixels, np.float32)).permute(0, 3, 1, 2)
                vectors: np.ndarray = model(pixel_values=batch).pooler_output.flatten(1).numpy()
                return vectors

        return predict

    make: Any = pandas_udf
    decoded = make(decode, returnType=ArrayType(FloatType()))
    vectors = predict_batch_udf(
        make_predict,
        return_type=ArrayType(FloatType()),
        batch_size=32,
        input_tensor_shapes=[[_SIDE_PX, _SIDE_PX, 3]],
    )
    return _spark_run(
        options,
        lambda rows: rows.select("content_id", decoded("content").alias("pixels")).select(
            "content_id", vectors("pixels").alias("vector")
        ),
    )


def _spark_run(options: Options, transform: Callable[[Any], Any]) -> Run:
    from mmrec_lib.lakehouse.config import SparkConfig
    from mmrec_lib.lakehouse.session import build_session

    os.environ[CORES_VARIABLE] = ",".join(map(str, options.cores))
    start = time.perf_counter()
    conf = {"spark.python.daemon.module": "tests.benchmarks.pinned_daemon"}
    spark = build_session(SparkConfig(master=f"local[{len(options.cores)}]", driver_memory="3g", conf=conf))
    session_seconds = time.perf_counter() - start
    jvm = spark.sparkContext._gateway.proc.pid  # type: ignore[union-attr]
    if others := set(range(os.cpu_count() or 1)) - set(options.cores):
        pin(jvm, others)
    table = f"{options.scratch}/in-{uuid.uuid4().hex}"
    rows = spark.read.parquet(options.rows).limit(options.num_rows)
    rows.write.format("delta").save(table)
    spark.range(1).write.format("delta").save(f"{table}-one")

    def write(frame: Any) -> float:
        start = time.perf_counter()
        frame.write.format("delta").save(f"{options.scratch}/out-{uuid.uuid4().hex}")
        return time.perf_counter() - start

    def warm_up() -> float:
        return write(transform(spark.read.format("delta").load(table).limit(16)))

    warm_up()

    def run() -> dict[str, float]:
        # While other sides ran, Spark has ended the worker: after a minute without work it does. A bare loop keeps its
        # model too, so the start of a worker is measured beside the run and not in it.
        start_seconds = warm_up()
        before = cpu_seconds(jvm)
        seconds = write(transform(spark.read.format("delta").load(table)))
        return {
            "rows": options.num_rows,
            "seconds": seconds,
            "jvm_cpu_seconds": cpu_seconds(jvm) - before,
            "commit_seconds": write(spark.read.format("delta").load(f"{table}-one")),
            "session_seconds": session_seconds,
            "worker_start_seconds": start_seconds,
            "worker_peak_mb": max(peak_mb(pid) for pid in python_workers(jvm)),
        }

    return run


SIDES: dict[str, Callable[[Options], Run]] = {
    "bare": bare,
    "naive_text": naive_text,
    "naive_image": naive_image,
    "job": job,
    "pattern": pattern,
}


def main() -> None:
    """Get ready, then run once for each line of standard input."""
    given = json.loads(sys.argv[1])
    options = Options(**{**given, "cores": tuple(given["cores"])})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints beside the answers
    if options.side not in ("job", "pattern"):
        pin(os.getpid(), set(options.cores))
    run = SIDES[options.side](options)
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(run()), file=answers, flush=True)


if __name__ == "__main__":
    main()
