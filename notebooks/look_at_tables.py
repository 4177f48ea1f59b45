# Databricks notebook source
# MAGIC %md
# MAGIC # Look at the tables
# MAGIC
# MAGIC What a finished run has left: the lists of a user, the neighbours of an item, what was quarantined and why, and the text
# MAGIC model as a function of a column. Reads only.
# MAGIC
# MAGIC On Databricks choose the store with the widgets. Elsewhere run it as a plain Python file from the repository's root:
# MAGIC `MMREC_OUT=out/demo python notebooks/look_at_tables.py`.

# COMMAND ----------

import matplotlib.pyplot as plt
import pyspark.sql.functions as F

from mmrec_lib import current_rows, encode_udf, open_notebook
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import shrink_image

store = open_notebook(globals())
lakehouse, models = store.lakehouse, store.models
user_id = store.setting("user", "")


def show_items(rows, heading):
    """Images and titles of a few rows with the columns content, title and label."""
    if not rows:
        print(f"{heading}: nothing to show")
        return
    decoder = DecoderChild()  # images are strangers' bytes: decoded in a process of its own, within limits
    figure, axes = plt.subplots(1, len(rows), figsize=(2.1 * len(rows), 3), squeeze=False)
    for axis, row in zip(axes[0], rows):
        axis.axis("off")
        axis.set_title("\n".join(filter(None, [row["label"], (row["title"] or row["item_id"])[:24]])), fontsize=8)
        try:
            axis.imshow(decoder.call(shrink_image, bytes(row["content"] or b""), 256))
        except MediaError:
            axis.text(0.5, 0.5, "no image", ha="center", va="center")
    decoder.close()
    figure.suptitle(heading)
    plt.show()
    plt.close(figure)


# COMMAND ----------

# MAGIC %md
# MAGIC ## One row an item: title and first image

# COMMAND ----------

first_image = (
    lakehouse.read("media_link")
    .where("owner_kind = 'item' AND field = 'images'")
    .groupBy(F.col("owner_id").alias("item_id"))
    .agg(F.min_by("asset_id", "position").alias("asset_id"))
    .join(lakehouse.read("media_asset").select("asset_id", "content"), "asset_id", "left")
)
items = lakehouse.read("item").select("item_id", "title").join(first_image, "item_id", "left")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The latest list of a user
# MAGIC
# MAGIC `current_slice` names what the last run published. `source_shares` tells how much each source gave to the score.

# COMMAND ----------

latest = current_rows(lakehouse, "user_topk")
if not user_id:  # whoever has the longest history
    longest = lakehouse.read("user_profile").orderBy(F.desc("num_events"), "user_id").select("user_id").first()
    user_id = longest["user_id"] if longest else ""

top = latest.where((F.col("user_id") == user_id) & (F.col("rank") <= 8)).drop("run_id", "row_hash", "written_at")
top.orderBy("rank").show(8, truncate=60)
show_items(
    top.join(items, "item_id", "left")
    .withColumn("label", F.concat(F.lit("rank "), F.col("rank").cast("string")))
    .orderBy("rank")
    .collect(),
    f"for user {user_id}",
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## What the user did before

# COMMAND ----------

history = (
    lakehouse.read("user_profile")
    .where(F.col("user_id") == user_id)
    .select(F.posexplode("history").alias("position", "seen"))
    .select("position", "seen.item_id", F.round("seen.weight", 1).cast("string").alias("label"))
    .where("position < 8")
)
show_items(history.join(items, "item_id", "left").orderBy("position").collect(), f"history of {user_id}, latest first")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Neighbours of the item at the top of that list

# COMMAND ----------

best = top.where("rank = 1").select("item_id")
neighbor = current_rows(lakehouse, "item_neighbor").join(best, "item_id", "left_semi")
nearest = (
    neighbor.where("rank <= 8")
    .select("rank", F.col("neighbor_id").alias("item_id"), F.round("similarity", 2).cast("string").alias("label"))
    .join(items, "item_id", "left")
    .orderBy("rank")
    .collect()
)
show_items(nearest, "most similar items, with cosine")

# COMMAND ----------

# MAGIC %md
# MAGIC ## What was not stored, and why

# COMMAND ----------

quarantine = lakehouse.read("quarantine")
quarantine.groupBy("record_kind", "reason").count().orderBy(F.desc("count"), "record_kind", "reason").show(50, truncate=False)
as_text = F.make_valid_utf8(F.col("raw").cast("string"))
quarantine.where("record_kind <> 'media'").select(
    "source_path", "source_line", "reason", "detail", F.substring(as_text, 1, 80).alias("raw")
).orderBy("source_path", "source_line").show(10, truncate=60)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The text model as a function of a column
# MAGIC
# MAGIC The same operator that the jobs use, for exploring: cosine of titles with words of your own.

# COMMAND ----------

words = "warm winter jacket"
to_vector = encode_udf(models.encoder("all-minilm-l6-v2", "text"), models)

titles = items.where("title IS NOT NULL").orderBy("item_id").limit(20).select("item_id", "title")
question = titles.limit(1).select(to_vector(F.lit(words)).alias("question"))
dot = F.aggregate(
    F.zip_with("vector", "question", lambda a, b: a.cast("double") * b.cast("double")), F.lit(0.0), lambda total, x: total + x
)
closest = titles.withColumn("vector", to_vector("title")).crossJoin(question).select(F.round(dot, 3).alias("cosine"), "title")
print(f"closest to: {words}")
closest.orderBy(F.desc("cosine"), "title").show(10, truncate=False)
