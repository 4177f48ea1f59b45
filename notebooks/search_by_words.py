# Databricks notebook source
# MAGIC %md
# MAGIC # Search images by words
# MAGIC
# MAGIC A joint space holds texts and images side by side: words find images that nobody described. Reads only.
# MAGIC
# MAGIC On Databricks choose the store with the widgets. Elsewhere run it as a plain Python file from the repository's root:
# MAGIC `MMREC_OUT=out/demo python notebooks/search_by_words.py`.

# COMMAND ----------

import matplotlib.pyplot as plt
import numpy as np
import pyspark.sql.functions as F

from mmrec_lib import encode_udf, exact_top, open_notebook
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.images import shrink_image

store = open_notebook(globals())
lakehouse, models = store.lakehouse, store.models
query = store.setting("query", "shoes")
max_images = int(store.setting("max_images", "200"))
encoder = models.encoder(store.setting("encoder", "conse-imagenet"), "joint")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Vectors of images
# MAGIC
# MAGIC The first image of each item, by the joint model. Where the store encodes `images` with a joint model already, read
# MAGIC `item_embedding` instead.

# COMMAND ----------

first_image = (
    lakehouse.read("media_link")
    .where("owner_kind = 'item' AND field = 'images'")
    .groupBy(F.col("owner_id").alias("item_id"))
    .agg(F.min_by("asset_id", "position").alias("asset_id"))
    .join(lakehouse.read("media_asset").select("asset_id", "content"), "asset_id")
    .join(lakehouse.read("item").select("item_id", "title"), "item_id")
    .orderBy("item_id")
    .limit(max_images)
)
to_vector = encode_udf(encoder, models)
images = [row for row in first_image.withColumn("vector", to_vector("content")).collect() if row["vector"] is not None]
vectors = np.array([row["vector"] for row in images], dtype=np.float32)
print(f"{len(images)} images in a space of {vectors.shape[1]} dimensions")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The query, and the images nearest to it

# COMMAND ----------

asked = lakehouse.spark.createDataFrame([(query,)], "text string").select(to_vector("text").alias("vector")).first()
top = exact_top(np.array([asked["vector"]], dtype=np.float32), vectors, min(6, len(images)))
hits = [(images[position], float(score)) for position, score in zip(top.indices[0], top.scores[0])]
for row, score in hits:
    print(f"{score:.3f}  {row['item_id']}  {row['title']}")

decoder = DecoderChild()  # images are strangers' bytes: decoded in a process of its own, within limits
figure, axes = plt.subplots(1, len(hits), figsize=(2.1 * len(hits), 3), squeeze=False)
for axis, (row, score) in zip(axes[0], hits):
    axis.axis("off")
    axis.set_title(f"{score:.2f} {(row['title'] or row['item_id'])[:22]}", fontsize=8)
    axis.imshow(decoder.call(shrink_image, bytes(row["content"]), 256))
decoder.close()
figure.suptitle(f"for the words: {query}")
plt.show()
plt.close(figure)
