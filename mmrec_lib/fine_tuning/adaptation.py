"""The job adapt_encoder: behaviour and texts → a text encoder of the store, released where a gate lets it pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from scipy.sparse import csr_array

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.owner_text import documents, joined_texts, read_owner_text, review_words
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory
from mmrec_lib.errors import EncoderError, RecipeError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.load import current_snapshot
from mmrec_lib.fine_tuning.contents import train_pairs
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.location import is_uri
from mmrec_lib.recipes.adapt import Adaptation, TextAdapter, require_own
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.behaviour import Behaviour, add_pairs, co_visits, gain_interval, make_behaviour, recalls
from mmrec_lib.tracking.registry import Registry

READS = ("owner_text", "event", "review", "training_snapshot", "training_interaction", "user")
WRITES = ("encoder_adaptation",)


def adapt_encoder(
    lakehouse: Lakehouse,
    registry: Registry,
    config: AdaptationConfig,
    models: ModelsConfig,
    weights: Mapping[str, float],
) -> tuple[dict[str, int], str]:
    """Adapt an encoder, compare it with what it was on items that training did not see, and release it or not.

    Args:
        lakehouse: Tables.
        registry: MLflow.
        config: What is adapted, and how.
        models: Where models lie and how they are run.
        weights: Weight of each event type; those of weight 0 are no visit.

    Returns:
        Counts and a message for job_run.

    Raises:
        RecipeError: When there is too little behaviour, the encoder cannot be adapted, `models.root` is no folder, or
            something else lies where the adapted encoder is to be.
        NoDataError: When there is no training snapshot.
    """
    if is_uri(models.root):
        raise RecipeError(
            f"Adaptation `{config.name}`: a local or mounted folder is needed to write models to, got "
            f"`{models.root}`. Set models.root."
        )
    base = models.chosen(config.encoder, "adaptation.encoder", ("text",))
    assert isinstance(base, TextConfig)
    source = local_directory(models.root, base.directories()["directory"])
    target = Path(models.root, config.name)
    if source.resolve() == target.resolve():
        raise RecipeError(
            f"Adaptation `{config.name}`: another name than that of the encoder's own directory is needed "
            "(adaptation.name), because the encoder stays as it is."
        )
    require_own(target, config)
    spec = encoder_spec(base, models)
    behaviour, pairs = read_behaviour(lakehouse, config, weights)
    graph, texts = behaviour_graph(behaviour, pairs, config)
    local = on_this_machine(models, cores=torch.get_num_threads())
    torch.set_num_threads(max(local.threads, 1))
    adapter = TextAdapter(source, config, sentence_layout(base, source), local.device)
    adapter.read(texts)
    items = range(len(behaviour.item_ids))
    before = recalls(behaviour, adapter.encode(items), "test", config.k)
    if len(before) < config.min_users:
        raise RecipeError(
            f"Adaptation `{config.name}`: at least {config.min_users} users with items in train and among the held-out "
            f"ones are needed for the gate (adaptation.min_users), got {len(before)}."
        )
    seen = np.concatenate([behaviour.items("train"), behaviour.items("valid")])

    def validate() -> float:
        vectors = np.zeros((len(items), adapter.dim), np.float32)
        vectors[seen] = adapter.encode(seen.tolist())
        return float(recalls(behaviour, vectors, "valid", config.k).mean())

    course = adapter.fit(graph, validate)
    after = recalls(behaviour, adapter.encode(items), "test", config.k)
    low, high = gain_interval(before, after, config.seed)
    is_released = course.best_epoch > 0 and low > config.min_gain
    revision = ""
    if is_released:
        adapter.save(target)
        revision = directory_revision(target)
    row = {
        "encoder_id": config.name,
        "revision": revision,
        "base_encoder_id": config.encoder,
        "base_revision": spec.revision,
        "metric": "recall",
        "k": config.k,
        "base_value": float(before.mean()),
        "value": float(after.mean()),
        "diff_low": low,
        "diff_high": high,
        "num_users": len(before),
        "num_pairs": int(graph.nnz),
        "is_released": is_released,
    }
    _log(registry, config, course, row, target if is_released else None)
    contract = CONTRACTS["encoder_adaptation"]
    types = {"k": pa.int32()}
    table = pa.table({name: pa.array([row[name]], types.get(name)) for name in contract.content_columns})
    lakehouse.merge("encoder_adaptation", Staged(lakehouse.from_arrow(table, contract)))
    counts = {
        "items": len(behaviour.item_ids),
        "users": behaviour.visits.shape[0],
        "pairs": int(graph.nnz),
        "epochs": len(course.losses),
        "released": int(is_released),
    }
    return counts, _message(config, row, course)


def read_behaviour(
    lakehouse: Lakehouse, config: AdaptationConfig, weights: Mapping[str, float]
) -> tuple[Behaviour, list[tuple[str, int]]]:
    """Behaviour of users, and the texts of searches and reviews with the item of each.

    Only the train part of the current snapshot counts. Of more users, items or texts than the config reads, a sample by
    hash, the same in each run.

    Raises:
        NoDataError: When there is no training snapshot.
        RecipeError: When nobody turned to an item with a text.
    """
    snapshot_id, cuts = current_snapshot(lakehouse)
    texts = joined_texts(read_owner_text(lakehouse))
    of_items = documents(texts, config.fields).where(F.col("owner_kind") == "item")
    chosen = of_items.orderBy(F.xxhash64("owner_id"), "owner_id").limit(config.max_items)
    items = lakehouse.stage("adapt_items", chosen.select(F.col("owner_id").alias("item_id"), "document"))
    known = {row["item_id"]: row["document"] for row in items.collect()}
    own = train_pairs(lakehouse, snapshot_id).join(items, "item_id", "left_semi").select("user_id", "item_id", "at")
    pairs = lakehouse.stage("adapt_pairs", own)
    batches = lakehouse.stream_arrow("adapt_visits", sampled_visits(pairs, config))
    columns = ((batch["user_id"].to_pylist(), batch["item_id"].to_pylist()) for batch in batches)
    visits = (visit for of_users, of_items in columns for visit in zip(of_users, of_items, strict=True))
    behaviour = make_behaviour(known, visits, config.valid_share, config.test_share)
    if not behaviour.visits.nnz or not len(behaviour.items("train")):
        raise RecipeError(f"Adaptation `{config.name}`: users that turned to items with a text are needed, got none.")
    place = {behaviour.item_ids[item]: int(item) for item in behaviour.items("train")}
    further = []
    if "searches" in config.pairs:
        counted = [kind for kind, weight in weights.items() if weight > 0]
        events = train_events(lakehouse.read("event"), cuts)
        found = answered_searches(events, counted, config.search_minutes).join(pairs, ["user_id", "item_id"])
        further.append(found.where(F.col("next_at") <= F.col("at")))
    if "reviews" in config.pairs:
        reviews = _before(lakehouse.read("review"), "review_ts", cuts).select("review_id", "user_id", "item_id")
        of_train = reviews.join(pairs, ["user_id", "item_id"], "left_semi")
        further.append(review_words(texts).join(of_train, "review_id"))
    ties = list[tuple[str, int]]()
    for one in further:
        told = one.select("text", "item_id").distinct()
        chosen = told.orderBy(F.xxhash64("text", "item_id"), "text", "item_id").limit(config.max_pairs)
        ties += [(row["text"], place[row["item_id"]]) for row in chosen.collect() if row["item_id"] in place]
    return behaviour, ties


def sampled_visits(pairs: DataFrame, config: AdaptationConfig) -> DataFrame:
    """Pairs of at most `max_users` users, `max_items_of_user` of each."""
    users = pairs.select("user_id").distinct().orderBy(F.xxhash64("user_id"), "user_id").limit(config.max_users)
    by_hash = Window.partitionBy("user_id").orderBy(F.xxhash64("user_id", "item_id"), "item_id")
    placed = pairs.join(users, "user_id", "left_semi").withColumn("place", F.row_number().over(by_hash))
    return placed.where(F.col("place") <= config.max_items_of_user).select("user_id", "item_id")


def train_events(events: DataFrame, cuts: Cuts) -> DataFrame:
    """Events that are not known to be of valid or test, by the split that they bring or by their time."""
    if cuts.given:
        return events.where(F.coalesce("split", F.lit("train")) == "train")
    return _before(events, "event_ts", cuts)


def _before(rows: DataFrame, column: str, cuts: Cuts) -> DataFrame:
    """Rows from before the end of train, where times tell it."""
    end = cuts.before("fit1")
    return rows if end is None else rows.where(F.col(column) < F.lit(end))


def answered_searches(events: DataFrame, counted: list[str], minutes: float) -> DataFrame:
    """Words of searches with the item that their user turned to next, in time.

    Returns:
        `user_id`, `text`, `item_id`, `next_at`.
    """
    is_search = F.col("query").isNotNull()
    own = Window.partitionBy("user_id").orderBy("event_ts", "event_id")
    acts = events.where(is_search | F.col("event_type").isin(*counted))
    found = acts.withColumn("next_item", F.lead("item_id").over(own)).withColumn(
        "next_at", F.lead("event_ts").over(own)
    )
    seconds = F.col("next_at").cast("long") - F.col("event_ts").cast("long")
    answered = found.where(is_search & F.col("item_id").isNull() & F.col("next_item").isNotNull())
    return answered.where(seconds <= minutes * 60).select(
        "user_id", F.col("query").alias("text"), F.col("next_item").alias("item_id"), "next_at"
    )


def is_release_there(lakehouse: Lakehouse, config: AdaptationConfig, models: ModelsConfig) -> bool:
    """Tell if the directory of the adapted encoder holds what was released last; true where nothing was."""
    if not lakehouse.exists("encoder_adaptation"):
        return True
    released = lakehouse.read("encoder_adaptation").where((F.col("encoder_id") == config.name) & F.col("is_released"))
    newest = released.orderBy(F.desc("written_at")).select("revision").limit(1).collect()
    if not newest:
        return True
    try:
        return directory_revision(Path(models.root, config.name)) == str(newest[0]["revision"])
    except EncoderError:
        return False


def behaviour_graph(
    behaviour: Behaviour, pairs: list[tuple[str, int]], config: AdaptationConfig
) -> tuple[csr_array, list[str]]:
    """Texts that belong together, those of items first; see `co_visits` and `add_pairs`."""
    graph = co_visits(behaviour, config.num_neighbours, config.shrinkage)
    if "co_visits" not in config.pairs:
        graph = csr_array(graph.shape, dtype=graph.dtype)
    return add_pairs(graph, behaviour.texts, pairs, config.pair_weight)


def _log(
    registry: Registry, config: AdaptationConfig, course: Adaptation, row: dict[str, object], model: Path | None
) -> None:
    """A run of MLflow: settings, curves, figures, and the encoder where it was released."""
    tags = {"encoder": config.name, "revision": str(row["revision"]), "released": str(row["is_released"])}
    with registry.run(f"adapt {config.encoder}", tags) as run:
        run.log_params({"adaptation": config.model_dump(mode="json"), "base_revision": row["base_revision"]})
        run.log_series("loss", course.losses)
        run.log_series("validation_recall", course.scores[1:])
        run.log_metrics({name: float(str(row[name])) for name in ("base_value", "value", "diff_low", "diff_high")})
        if model is not None:
            run.log_folder(model, "model")


def _message(config: AdaptationConfig, row: Mapping[str, object], course: Adaptation) -> str:
    told = (
        f"recall@{config.k} of held-out items {row['base_value']:.4f} → {row['value']:.4f}, gain "
        f"[{row['diff_low']:.4f}, {row['diff_high']:.4f}]"
    )
    if row["is_released"]:
        return f"{told}: released as `{config.name}`, revision {row['revision']}; name it in embedding.encode to use it"
    reason = "no epoch was better on validation" if not course.best_epoch else "the gain is not beyond chance"
    return f"{told}: not released, {reason}"
