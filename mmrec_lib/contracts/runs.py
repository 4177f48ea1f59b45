"""About the runs: what ran, how good the data and the models were."""

from __future__ import annotations

from pyspark.sql.types import (
    BooleanType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    TimestampType,
)

from mmrec_lib.contracts.table import Check, Column, TableContract

JOB_RUN = TableContract(
    name="job_run",
    layer="runs",
    comment="One row a run of a job: what it read, wrote, counted and took.",
    columns=(
        Column("job_run_id", StringType(), "Key: run and job.", required=True),
        Column("job", StringType(), "Name of the job.", required=True),
        Column("status", StringType(), "succeeded, skipped (nothing new) or failed.", required=True),
        Column("started_at", TimestampType(), "Start (UTC).", required=True),
        Column("run_seconds", DoubleType(), "Duration; 0 where skipped.", required=True),
        Column("fingerprint", StringType(), "Hash of input versions, config and library source."),
        Column("input_versions", MapType(StringType(), LongType()), "Version of each table read."),
        Column("output_versions", MapType(StringType(), LongType()), "Version of each table written."),
        Column("counts", MapType(StringType(), LongType()), "What the job counted, such as event.stored."),
        Column("message", StringType(), "The reason of a failure, or what the job decided."),
        Column("library_version", StringType(), "Version of mmrec."),
    ),
    key=("job_run_id",),
    checks=(Check("status_known", "status IN ('succeeded', 'skipped', 'failed')"),),
    retention_days=400,
    retention_column="started_at",
)

DATA_QUALITY_RESULT = TableContract(
    name="data_quality_result",
    layer="runs",
    comment="Reconciliation and quarantine shares of each ingest, by kind of record.",
    columns=(
        Column("job_run_id", StringType(), "Run; see job_run.", required=True),
        Column("record_kind", StringType(), "Kind of record.", required=True),
        Column("check_name", StringType(), "What was checked, such as quarantine_share.", required=True),
        Column("value", DoubleType(), "Measured value.", required=True),
        Column("threshold", DoubleType(), "Allowed value."),
        Column("passed", BooleanType(), "Whether the value is allowed.", required=True),
    ),
    key=("job_run_id", "record_kind", "check_name"),
    retention_days=400,
    retention_column="written_at",
)

MODEL_METRIC = TableContract(
    name="model_metric",
    layer="runs",
    comment="Full-ranking metrics of each model version and baseline, with intervals.",
    columns=(
        Column("model_version", StringType(), "Version of the registered ranker.", required=True),
        Column(
            "fit",
            StringType(),
            "fit1 (trained on train), fit2 (on train and valid), or ablation (rankers without one part, on train).",
            required=True,
        ),
        Column("part", StringType(), "valid or test.", required=True),
        Column(
            "model",
            StringType(),
            "ranker, or the name of a baseline; first_stage and without_scorer, the ranker without a part; on requests "
            "also without_context; on lists also with_rules and reranked; of heads also base_rate; of an ablation "
            "without_source:<name> and without_modality:<name>, beside the ranker's first stage as ranker.",
            required=True,
        ),
        Column(
            "segment",
            StringType(),
            "all, warm, cold, cold_items, cold_items_in_all; <grouping>:<group> of users or items, <grouping> for the "
            "gap between its groups; requests: lists that know the context of a request; lists: effects of rules and "
            "re-ranking; head:<outcome>; or scorer, the decision on it.",
            required=True,
        ),
        Column(
            "metric",
            StringType(),
            "ndcg, recall, precision, map, f1, mrr, hit_rate, auc, gauc, coverage, gini, novelty, average_popularity, "
            "popularity_percentile, serendipity; ndcg_gap and recall_gap between groups; "
            "on lists also diversity, miscalibration; of heads log_loss, brier, calibration_error, auc, rmse, mae, "
            "reliability_predicted, reliability_observed; of the scorer weight, ndcg_gain, seconds_per_1000_lists. See "
            "docs/evaluation.md.",
            required=True,
        ),
        Column(
            "k", IntegerType(), "Cut-off; 0 for metrics without one; of reliability the bin, from 1.", required=True
        ),
        Column(
            "value", DoubleType(), "Mean over users; of heads over pairs of a user and a listed item.", required=True
        ),
        Column("ci_low", DoubleType(), "Lower end of the 95 % bootstrap interval over users."),
        Column("ci_high", DoubleType(), "Upper end of it."),
        Column("diff", DoubleType(), "Ranker minus this model, paired by user; null for the ranker itself."),
        Column("diff_low", DoubleType(), "Lower end of the 95 % interval of the difference."),
        Column("diff_high", DoubleType(), "Upper end of it."),
        Column("num_users", LongType(), "Users averaged.", required=True),
        Column("p_value", DoubleType(), "Of the difference, two-sided: random signs, paired by user."),
        Column(
            "p_adjusted",
            DoubleType(),
            "The same after Holm's correction for all models compared by this metric on this segment.",
        ),
    ),
    key=("model_version", "fit", "part", "model", "segment", "metric", "k"),
)

RUNS = (JOB_RUN, DATA_QUALITY_RESULT, MODEL_METRIC)
