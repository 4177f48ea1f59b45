# Databricks notebook source
# MAGIC %md
# MAGIC # Tune a ranker and compare
# MAGIC
# MAGIC The search that the training job does, on the current snapshot and with settings of your own, compared on validation with
# MAGIC paired intervals. The test part is not read: it is for the job, once. Writes nothing.
# MAGIC
# MAGIC On Databricks choose the store with the widgets. Elsewhere run it as a plain Python file from the repository's root:
# MAGIC `MMREC_OUT=out/demo python notebooks/tune_and_compare.py`.

# COMMAND ----------

import matplotlib.pyplot as plt

from mmrec_lib import choose_settings, fit_ranker, load_snapshot, open_notebook
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.training.evaluate import evaluate_part

store = open_notebook(globals())
metric, k = store.setting("metric", "ndcg"), int(store.setting("k", "10"))
snapshot = load_snapshot(store.lakehouse)
train, valid = snapshot.fit_data("fit1"), snapshot.parts["valid"]
print(f"snapshot {snapshot.snapshot_id}: {len(snapshot.user_ids)} users, {len(snapshot.item_ids)} items")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Variants
# MAGIC
# MAGIC Each is a `TrainingConfig`; the search chooses everything else on validation. `--set training.<key>=…` says the same to the
# MAGIC job. The first must be called `ranker`: the others are compared with it.

# COMMAND ----------

variants = {
    "ranker": TrainingConfig(),
    "without content": TrainingConfig(use_content=False),
    "implicit ALS only": TrainingConfig(sources=("ials",)),
}
settings = {name: choose_settings(train, valid, config) for name, config in variants.items()}
for name, chosen in settings.items():
    weights = ", ".join(f"{source} {weight:g}" for source, weight in sorted(chosen.fusion.items()) if weight)
    print(f"{name}: {chosen.dim} dimensions; {weights}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## On validation
# MAGIC
# MAGIC `diff` is `ranker` minus this variant, paired by user: `ranker` is better where the whole interval lies above 0.

# COMMAND ----------

models = {name: fit_ranker(train, chosen) for name, chosen in settings.items()}
rows = evaluate_part(snapshot, "fit1", "valid", models, EvaluationConfig(ks=(k,)))
shown = [row for row in rows if (row.metric, row.k, row.segment) == (metric, k, "all")]
for row in shown:
    difference = "" if row.diff is None else f"  diff {row.diff:+.4f} [{row.diff_low:+.4f}, {row.diff_high:+.4f}]"
    print(f"{row.model:<20} {row.value:.4f} [{row.ci_low:.4f}, {row.ci_high:.4f}]{difference}")

figure, axis = plt.subplots(figsize=(6, 2.4))
errors = [[row.value - row.ci_low for row in shown], [row.ci_high - row.value for row in shown]]
axis.barh([row.model for row in shown], [row.value for row in shown], xerr=errors, capsize=3)
axis.set_xlabel(f"{metric}@{k} on validation, 95 % intervals")
figure.suptitle("variants on validation")
figure.tight_layout()
plt.show()
plt.close(figure)
