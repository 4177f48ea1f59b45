# Databricks notebook source
# MAGIC %md
# MAGIC # Compare models
# MAGIC
# MAGIC Metrics of every registered version and of the baselines beside it, with 95 % intervals, and which version the aliases
# MAGIC name. Reads only.
# MAGIC
# MAGIC On Databricks choose the store with the widgets. Elsewhere run it as a plain Python file from the repository's root:
# MAGIC `MMREC_OUT=out/demo python notebooks/compare_models.py`.

# COMMAND ----------

import matplotlib.pyplot as plt
import pyspark.sql.functions as F

from mmrec_lib import open_notebook
from mmrec_lib.tracking.registry import CHALLENGER, CHAMPION

store = open_notebook(globals())
lakehouse, registry = store.lakehouse, store.registry
metric, k = store.setting("metric", "ndcg"), int(store.setting("k", "10"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Versions and aliases

# COMMAND ----------

aliases = {alias: registry.by_alias(alias) for alias in (CHAMPION, CHALLENGER)}
for alias, model in aliases.items():
    print(f"{alias}: {'none' if model is None else 'version ' + model.version}")
for model in registry.versions():
    print(f"\n{model.name} version {model.version}")
    for tag, value in sorted(model.tags.items()):
        print(f"  {tag}: {value}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The ranker and the baselines of each version
# MAGIC
# MAGIC `fit1` is trained on train, `fit2` on train and valid with the same settings. `diff` is the ranker minus the baseline, paired by
# MAGIC user: the ranker is better where the whole interval lies above 0. `p_adjusted` is the p-value of the difference after Holm's
# MAGIC correction for all baselines. The segment `requests` has the ranker that knows the context of a request beside itself `without_context`.

# COMMAND ----------

of_metric = lakehouse.read("model_metric").where((F.col("metric") == metric) & (F.col("k") == k))
is_group = F.col("segment").contains(":")
metrics = of_metric.where(~is_group)
numbers = [F.round(name, 4).alias(name) for name in ("value", "ci_low", "ci_high", "diff", "diff_low", "diff_high", "p_adjusted")]
table = metrics.select("model_version", "fit", "part", "segment", "model", "num_users", *numbers)
table.orderBy(F.col("model_version").cast("int"), "fit", "part", "segment", F.desc("value")).show(200, truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## One image a fit: all models of the newest version on test

# COMMAND ----------

newest = metrics.agg(F.max(F.col("model_version").cast("int")).cast("string")).first()[0]
rows = metrics.where((F.col("model_version") == newest) & (F.col("part") == "test")).toPandas()
for fit, of_fit in rows.groupby("fit"):
    segments = sorted(of_fit["segment"].unique())
    figure, axes = plt.subplots(1, len(segments), figsize=(3.4 * len(segments), 3.6), squeeze=False)
    for axis, segment in zip(axes[0], segments):
        found = of_fit[of_fit["segment"] == segment].sort_values("value")
        low, high = found["ci_low"].fillna(found["value"]), found["ci_high"].fillna(found["value"])
        axis.barh(found["model"], found["value"], xerr=[(found["value"] - low).to_numpy(), (high - found["value"]).to_numpy()], capsize=3)
        axis.set_title(f"{segment} ({found['num_users'].max()} users)", fontsize=9)
        axis.set_xlabel(f"{metric}@{k}")
    figure.suptitle(f"version {newest}, {fit} on test, 95 % intervals")
    figure.tight_layout()
    plt.show()
    plt.close(figure)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Groups of users and items, the ranker of the newest version on test
# MAGIC
# MAGIC Groups are told at the smallest cut-off of `evaluation.ks`.

# COMMAND ----------

of_newest = of_metric.where(is_group & (F.col("model_version") == newest) & (F.col("part") == "test") & (F.col("model") == "ranker"))
of_newest.select("fit", "segment", "num_users", *numbers[:3]).orderBy("fit", "segment").show(200, truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The ranker from version to version

# COMMAND ----------

history = (
    metrics.where("model = 'ranker' AND part = 'test' AND segment = 'all'")
    .withColumn("number", F.col("model_version").cast("int"))
    .orderBy("number")
    .toPandas()
)
figure, axis = plt.subplots(figsize=(6, 3.2))
for fit, of_fit in history.groupby("fit"):
    low, high = of_fit["ci_low"].fillna(of_fit["value"]), of_fit["ci_high"].fillna(of_fit["value"])
    axis.errorbar(of_fit["number"], of_fit["value"], yerr=[(of_fit["value"] - low).to_numpy(), (high - of_fit["value"]).to_numpy()], fmt="o-", label=fit)
axis.set_xlabel("version")
axis.set_ylabel(f"{metric}@{k}, all users, test")
axis.legend(frameon=False)
plt.show()
plt.close(figure)
