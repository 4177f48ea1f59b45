# Databricks notebook source
# MAGIC %md
# MAGIC # Follow a recommendation back to its files
# MAGIC
# MAGIC From a row of `user_topk` to the model version, the snapshot it was trained on, the table versions of that, the user's events
# MAGIC and the landing files and lines that delivered them. Reads only.
# MAGIC
# MAGIC On Databricks choose the store with the widgets. Elsewhere run it as a plain Python file from the repository's root:
# MAGIC `MMREC_OUT=out/demo python notebooks/trace_recommendation.py`.

# COMMAND ----------

import pyspark.sql.functions as F

from mmrec_lib import current_rows, open_notebook
from mmrec_lib.errors import ModelError
from mmrec_lib.publishing.explanations import ListExplainer
from mmrec_lib.tracking.registry import SNAPSHOT_TAG

store = open_notebook(globals())
lakehouse = store.lakehouse
user_id, rank = store.setting("user", ""), int(store.setting("rank", "1"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The row

# COMMAND ----------

lists = current_rows(lakehouse, "user_topk")
if not user_id:  # whoever has the longest history
    user_id = lakehouse.read("user_profile").orderBy(F.desc("num_events"), "user_id").select("user_id").first()["user_id"]
line = lists.where((F.col("user_id") == user_id) & (F.col("rank") == rank)).first()
print(f"{line['as_of_date']}: user {user_id} gets item {line['item_id']} at rank {rank}, score {line['score']:.3f}")
for source, share in sorted(line["source_shares"].items(), key=lambda pair: -abs(pair[1])):
    print(f"  {source:<14} {share:+.3f}")
print(f"  because of {', '.join(line['because_item_ids'] or ()) or 'no item of the history (or the rank is not explained)'}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The model, and the snapshot that it was trained on

# COMMAND ----------

(version,) = [model for model in store.registry.versions() if model.version == line["model_version"]]
snapshot_id = version.tags[SNAPSHOT_TAG]
snapshot = lakehouse.read("training_snapshot").where(F.col("snapshot_id") == snapshot_id).first()
print(f"model {version.name} version {version.version}, trained on snapshot {snapshot_id} of {snapshot['as_of_date']}")
for table, number in sorted(snapshot["table_versions"].items()):
    print(f"  {table} at version {number}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Why it is there: what each modality adds, and its rank had an item not been in the history
# MAGIC
# MAGIC Shares of modalities fit the sources that use content again for each combination of modalities: seconds for a thousand items,
# MAGIC minutes for ten thousand. `max_modalities=0` leaves them out. Ranks are the model's own, before rules and re-ranking.

# COMMAND ----------

explainer, asked = ListExplainer(lakehouse, store.registry, version), {user_id: [line["item_id"]]}
try:
    why = explainer.explain(asked).get(user_id, [])
except ModelError as error:  # users or items were deleted since, or there are too many modalities
    print(f"  no shares of modalities: {error}")
    why = explainer.explain(asked, max_modalities=0).get(user_id, [])
for explained in why:  # none for an item that came after the model was trained
    for modality, share in sorted(explained.modality_shares.items(), key=lambda pair: -abs(pair[1])):
        print(f"  {modality:<14} {share:+.3f}")
    for other in explained.without[:5]:
        print(f"  without {other.item_id}: place {other.rank} -> {other.rank_without}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The item's vectors, and the encoders that made them

# COMMAND ----------

vectors = lakehouse.read("item_embedding").where(F.col("item_id") == line["item_id"])
vectors.select("modality", "field", "encoder_id", "revision", "num_contents").orderBy("field", "encoder_id").show(truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The user's events, with the file and line that delivered each

# COMMAND ----------

events = lakehouse.read("event").where(F.col("user_id") == user_id)
files = lakehouse.read("landing_file").where("record_kind = 'event'").select(F.col("file_id").alias("source_file_id"), "sha256")
traced = events.join(files, "source_file_id", "left").select(
    "event_ts", "event_type", "item_id", "source_path", "source_line", F.substring("sha256", 1, 12).alias("sha256")
)
traced.orderBy(F.desc("event_ts"), "source_path", "source_line").show(20, truncate=False)
item = lakehouse.read("item").where(F.col("item_id") == line["item_id"]).first()
print(f"item {line['item_id']} ({item['title']}): {item['source_path']}, line {item['source_line']}")
