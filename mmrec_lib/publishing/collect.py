"""Tables → content of the report and the summary."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pyspark
from pyspark.sql import functions as F

from mmrec_lib import __version__
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.learning import OUTSIDE_PIPELINE
from mmrec_lib.embedding.extracted_text import TRANSCRIPT
from mmrec_lib.embedding.owner_text import joined_texts
from mmrec_lib.embedding.revisions import PROVIDED
from mmrec_lib.evaluation.rows import ABLATION, METRIC_FIELDS, MetricRow
from mmrec_lib.lakehouse.actions import few_threads
from mmrec_lib.lakehouse.counts import count_rows
from mmrec_lib.lakehouse.ledger import Ledger
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.publishing.explained_users import explained_users
from mmrec_lib.publishing.people import shown_neighbors, shown_users
from mmrec_lib.publishing.shown_findings import shown_findings, shown_recalls
from mmrec_lib.publishing.shown_lists import shown_lists
from mmrec_lib.publishing.shown_texts import shown_texts
from mmrec_lib.publishing.slices import current_rows
from mmrec_lib.reporting.config import ReportConfig
from mmrec_lib.reporting.data import (
    EncodeCount,
    FunnelStage,
    ModelInfo,
    QuarantineReason,
    ReconciliationRow,
    ReportData,
    SecondStageFigures,
    SpokenReview,
)
from mmrec_lib.tracking.registry import CHAMPION, Registry
from mmrec_lib.training.describe import DECISION_PARAM
from mmrec_lib.training.promote import DECISION_TAG

FEEDBACK = ("job_run",)
"""Every run writes what it did into it; the report counts the runs before its own."""
_SHOWN = tuple(name for name in CONTRACTS if name not in OUTSIDE_PIPELINE)
READS = (*(name for name in _SHOWN if name not in FEEDBACK), "registry:champion")
"""All tables that the pipeline writes, because the summary counts the rows of each."""
_PACKAGES = (
    ("delta-spark", "delta-spark"),
    ("torch", "torch"),
    ("transformers", "transformers"),
    ("mlflow", "mlflow"),
    ("mlflow", "mlflow-skinny"),
    ("numpy", "numpy"),
    ("pyarrow", "pyarrow"),
)
_MAX_RAW_BYTES = 400


def collect_report(
    lakehouse: Lakehouse, registry: Registry, ledger: Ledger, jobs: Sequence[str], config: ReportConfig
) -> ReportData:
    """Everything that the report shows, as plain values; a few hundred rows at most leave Spark.

    Args:
        lakehouse: Tables.
        registry: Models.
        ledger: Runs, for seconds.
        jobs: Jobs whose seconds are shown, in order.
        config: How much is shown.
    """
    champion = registry.by_alias(CHAMPION)
    model = None
    if champion is not None:
        decision = champion.tags.get(DECISION_TAG, "")
        model = ModelInfo(champion.name, champion.version, CHAMPION, registry.params(champion), decision)
    version = champion.version if champion is not None else None
    snapshot = lakehouse.read("training_snapshot").where("is_current").select("as_of_date").collect()
    tables = count_rows(lakehouse, _SHOWN)
    runs = {job: ledger.last_good(job) for job in jobs}
    with few_threads() as pool:
        users = pool.submit(shown_users, lakehouse, config.num_users)
        neighbors = pool.submit(shown_neighbors, lakehouse, config.num_items)
        spoken = pool.submit(_spoken, lakehouse, config.num_spoken)
        funnel = pool.submit(_funnel, lakehouse, tables)
        reconciliation = pool.submit(_reconciliation, lakehouse, ledger)
        quarantine = pool.submit(_quarantine, lakehouse)
        metrics = pool.submit(_metrics, lakehouse, version)
        lists = pool.submit(shown_lists, lakehouse, config.num_lists)
        texts = pool.submit(shown_texts, lakehouse, config.num_texts)
        findings = pool.submit(shown_findings, lakehouse, config.num_findings)
        recalls = pool.submit(shown_recalls, lakehouse)
        encodes = pool.submit(_encodes, lakehouse)
    explained, note = explained_users(lakehouse, registry, champion, users.result(), tables, config.explanations)
    by_fit = metrics.result()
    return ReportData(
        store_name=PurePosixPath(str(lakehouse.store.data)).name,
        as_of=snapshot[0]["as_of_date"].isoformat() if snapshot else "",
        introduction=config.introduction,
        versions=software_versions(),
        tables=tables,
        funnel=funnel.result(),
        reconciliation=reconciliation.result(),
        quarantine=quarantine.result(),
        users=explained,
        neighbors=neighbors.result(),
        lists=lists.result()[0],
        num_lists=lists.result()[1],
        texts=texts.result(),
        num_findings=findings.result()[0],
        findings=findings.result()[1],
        recalls=recalls.result(),
        metrics={fit: rows for fit, rows in by_fit.items() if fit != ABLATION},
        ablation=by_fit.get(ABLATION, ()),
        second_stage=None if model is None else second_stage_figures(model.settings),
        explanation_note=note,
        model=model,
        seconds={job: run.run_seconds for job, run in runs.items() if run is not None},
        encodes=encodes.result(),
        spoken=spoken.result(),
    )


def second_stage_figures(params: Mapping[str, object]) -> SecondStageFigures | None:
    """The decision on the second stage from the parameters of a run; None where they tell of none."""
    sentence = params.get(DECISION_PARAM)
    if sentence is None:
        return None
    if params.get("second_stage.reason"):
        return SecondStageFigures(str(sentence))
    gain, low, high, valid_gain, num_users = (
        float(str(params[f"second_stage.{name}"])) for name in ("gain", "low", "high", "valid_gain", "num_users")
    )
    return SecondStageFigures(str(sentence), gain, low, high, valid_gain, int(num_users))


def last_ingest(ledger: Ledger) -> str:
    """Counts that the report shows of the last ingest, which no table keeps."""
    run = ledger.last_good("ingest_landing")
    return json.dumps(
        {} if run is None else {k: n for k, n in run.counts.items() if k.startswith("media.")}, sort_keys=True
    )


def software_versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"mmrec": __version__, "python": platform.python_version(), "pyspark": pyspark.__version__}
    if runtime := os.environ.get("DATABRICKS_RUNTIME_VERSION"):
        found["databricks-runtime"] = runtime
    # A cluster's image brings Delta without a package, and of MLflow the part without a server.
    for name, distribution in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.setdefault(name, importlib.metadata.version(distribution))
    return found


def _funnel(lakehouse: Lakehouse, tables: Mapping[str, int]) -> list[FunnelStage]:
    read = lakehouse.read("landing_file").agg(F.sum("num_read")).collect()[0][0] or 0
    current = lakehouse.read("training_snapshot").where("is_current").select("snapshot_id")
    pairs = lakehouse.read("training_interaction").join(current, "snapshot_id", "left_semi").count()
    lists = (
        current_rows(lakehouse, "user_topk")
        .agg(F.count(F.lit(1)).alias("rows"), F.countDistinct("user_id").alias("users"))
        .collect()[0]
    )
    return [
        FunnelStage("records delivered", int(read), "in all landing files"),
        FunnelStage("events stored", tables["event"], "clean, once each"),
        FunnelStage("reviews stored", tables["review"], "with a rating or without"),
        FunnelStage("user-item pairs", pairs, "events and reviews of a user on an item, summed"),
        FunnelStage("users with a list", int(lists["users"]), "known users, with and without history"),
        FunnelStage("recommendations", int(lists["rows"]), "rows of the current user_topk"),
    ]


def _reconciliation(lakehouse: Lakehouse, ledger: Ledger) -> list[ReconciliationRow]:
    numbers = ("num_read", "num_stored", "num_superseded", "num_duplicates", "num_quarantined")
    sums = lakehouse.read("landing_file").groupBy("record_kind").agg(*[F.sum(n).alias(n) for n in numbers])
    rows = [
        ReconciliationRow(row["record_kind"], *(int(row[n]) for n in numbers))
        for row in sums.orderBy("record_kind").collect()
    ]
    run = ledger.last_good("ingest_landing")
    if run is not None and run.counts.get("media.read"):
        media = [int(run.counts.get(f"media.{n.removeprefix('num_')}", 0)) for n in numbers]
        rows.append(ReconciliationRow("media (last ingest)", *media))
    return rows


def _quarantine(lakehouse: Lakehouse) -> list[QuarantineReason]:
    example = F.min_by(
        F.struct("detail", F.substring("raw", 1, _MAX_RAW_BYTES).alias("raw"), "source_path", "source_line"),
        F.col("quarantine_id"),
    )
    rows = (
        lakehouse.read("quarantine")
        .groupBy("reason")
        .agg(F.count(F.lit(1)).alias("rows"), example.alias("example"))
        .orderBy(F.col("rows").desc(), "reason")
        .collect()
    )
    found = []
    for row in rows:
        shown = row["example"]
        line = f", line {shown['source_line']}" if shown["source_line"] is not None else ""
        raw = bytes(shown["raw"] or b"").decode("utf-8", "replace")
        found.append(
            QuarantineReason(row["reason"], int(row["rows"]), shown["detail"], raw, f"{shown['source_path']}{line}")
        )
    return found


def _metrics(lakehouse: Lakehouse, version: str | None) -> dict[str, list[MetricRow]]:
    if version is None:
        return {}
    is_shown = (F.col("part") == "test") | (F.col("fit") == ABLATION)
    rows = lakehouse.read("model_metric").where((F.col("model_version") == version) & is_shown)
    found: dict[str, list[MetricRow]] = {}
    order = F.when(F.col("model") == "ranker", 0).otherwise(1)
    for row in rows.orderBy("fit", "segment", order, "model", "metric", "k").select("fit", *METRIC_FIELDS).collect():
        found.setdefault(row["fit"], []).append(MetricRow(*(row[name] for name in METRIC_FIELDS)))
    return found


def _encodes(lakehouse: Lakehouse) -> list[EncodeCount]:
    vectors = lakehouse.read("content_embedding").select(
        "encoder_id", "modality", F.lit("distinct contents").alias("field"), "error"
    )
    words = lakehouse.read("media_text").select(
        "encoder_id", F.lit("words").alias("modality"), F.col("kind").alias("field"), "error"
    )
    rows = (
        vectors.unionByName(words)
        .groupBy("encoder_id", "modality", "field")
        .agg(F.count(F.lit(1)).alias("rows"), F.count("error").alias("errors"), F.min("error").alias("example"))
        .orderBy("modality", "encoder_id")
        .collect()
    )
    return [
        EncodeCount(r["encoder_id"], r["modality"], r["field"], int(r["rows"]), int(r["errors"]), r["example"] or "")
        for r in rows
    ]


def _spoken(lakehouse: Lakehouse, limit: int) -> list[SpokenReview]:
    found = lakehouse.read("owner_text").where((F.col("owner_kind") == "review") & (F.col("kind") == TRANSCRIPT))
    heard = found.where(F.col("encoder_id") != PROVIDED).select(F.col("owner_id").alias("review_id")).distinct()
    seconds = (
        lakehouse.read("media_link")
        .where((F.col("owner_kind") == "review") & (F.col("field") == "audio"))
        .join(lakehouse.read("media_asset").select("asset_id", "media_seconds"), "asset_id", "left")
        .groupBy(F.col("owner_id").alias("review_id"))
        .agg(F.sum("media_seconds").alias("seconds"))
    )
    rows = (
        joined_texts(found)
        .select(F.col("owner_id").alias("review_id"), "text")
        .join(lakehouse.read("review").select("review_id", "item_id", "rating"), "review_id")
        .join(lakehouse.read("item").select("item_id", "title"), "item_id", "left")
        .join(seconds, "review_id", "left")
        .join(heard.withColumn("is_heard", F.lit(True)), "review_id", "left")
        .orderBy("review_id")
        .limit(limit)
        .collect()
    )
    return [
        SpokenReview(
            r["review_id"],
            r["text"],
            r["title"],
            r["seconds"],
            r["rating"],
            "speech model" if r["is_heard"] else "precomputed",
        )
        for r in rows
    ]
