# Databricks notebook source
# MAGIC %md
# MAGIC # Encode a table of your own
# MAGIC
# MAGIC A model of the store as a function of a column of any table: vectors of texts, their nearest neighbours, and what cannot be
# MAGIC encoded. Writes nothing.
# MAGIC
# MAGIC On Databricks choose the store with the widgets. Elsewhere run it as a plain Python file from the repository's root:
# MAGIC `MMREC_OUT=out/demo python notebooks/encode_own_table.py`.

# COMMAND ----------

import numpy as np
import pyspark.sql.functions as F

from mmrec_lib import encode_udf, open_notebook
from mmrec_lib.topk.exact import nearest

store = open_notebook(globals())
spark, models = store.lakehouse.spark, store.models
encoder = models.encoder(store.setting("encoder", "all-minilm-l6-v2"), "text")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The table
# MAGIC
# MAGIC Any DataFrame with a column of texts will do: a table of the catalogue, a CSV file, or rows typed here. One row has nothing
# MAGIC to encode, which is no error of the job: its vector is null.

# COMMAND ----------

own = spark.createDataFrame(
    [
        ("a", "Warm woollen hat for winter"),
        ("b", "Knitted beanie, keeps your head warm"),
        ("c", "Leather sandals for the beach"),
        ("d", "Open summer shoes"),
        ("e", "   "),
    ],
    "id string, text string",
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## A column of vectors
# MAGIC
# MAGIC Every worker loads the model once; rows stream through it in Arrow batches.

# COMMAND ----------

to_vector = encode_udf(encoder, models)
encoded = own.withColumn("vector", to_vector("text"))
rows = encoded.orderBy("id").collect()
missing = [row["id"] for row in rows if row["vector"] is None]
print(f"{len(rows) - len(missing)} rows encoded, without a vector: {missing}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The nearest row of each row
# MAGIC
# MAGIC By cosine, exact, as in the jobs.

# COMMAND ----------

known = [row for row in rows if row["vector"] is not None]
top = nearest(np.array([row["vector"] for row in known], dtype=np.float32), 1)
neighbor_of = {}
for row, (position,), (cosine,) in zip(known, top.indices, top.scores):
    neighbor_of[row["id"]] = known[position]["id"]
    print(f"{cosine:.3f}  {row['text']}  ->  {known[position]['text']}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Next to the store's items
# MAGIC
# MAGIC The same vectors stand in `item_embedding` for the items of the store, so that tables of your own can be compared with them.

# COMMAND ----------

titles = (
    store.lakehouse.read("item_embedding")
    .where((F.col("field") == "title") & (F.col("encoder_id") == encoder.id) & F.col("vector").isNotNull())
    .select("item_id", F.col("vector").alias("title_vector"))
)
dot = F.aggregate(
    F.zip_with("vector", "title_vector", lambda a, b: a.cast("double") * b.cast("double")), F.lit(0.0), lambda total, x: total + x
)
closest = (
    encoded.where("vector IS NOT NULL")
    .crossJoin(titles)
    .withColumn("cosine", dot)
    .groupBy("id", "text")
    .agg(F.max_by("item_id", "cosine").alias("item_id"), F.round(F.max("cosine"), 3).alias("cosine"))
    .join(store.lakehouse.read("item").select("item_id", "title"), "item_id", "left")
    .orderBy("id")
)
closest.select("text", "title", "cosine").show(truncate=50)
