"""Tables → a training snapshot and user profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.snapshots import TRAINING_SNAPSHOT
from mmrec_lib.embedding.owner_text import read_owner_text
from mmrec_lib.errors import NoDataError
from mmrec_lib.features.acts import find_span, known_acts, resolve_as_of, warn_of_newest
from mmrec_lib.features.config import AUTO, BY_TIME, FeaturesConfig
from mmrec_lib.features.contents import (
    attribute_tokens,
    graph_tokens,
    released_vectors,
    review_contents,
    review_vectors,
    snapshot_hash,
)
from mmrec_lib.features.entities import ENTITIES, FOUND, Entities, read_entities, write_found_attributes
from mmrec_lib.features.graph import graph_vector_features
from mmrec_lib.features.interactions import (
    GIVEN,
    PARTS,
    Cuts,
    find_cuts,
    pair_interactions,
    weigh_events,
)
from mmrec_lib.features.item_texts import items_with_texts
from mmrec_lib.features.outcomes import possible_outcomes
from mmrec_lib.features.profiles import known_events, rating_types, user_profiles
from mmrec_lib.features.request_context import (
    user_searches,
    with_device_columns,
    with_devices,
    with_last_search,
    with_searches,
)
from mmrec_lib.features.splits import require_parts, split_parts
from mmrec_lib.features.tastes import with_tastes
from mmrec_lib.ingest.config import EventTypeConfig
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.counts import count_rows
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.heads_settings import HeadsSettings
from mmrec_lib.models.second_stage_settings import ContextKind
from mmrec_lib.recipes.scorer_config import ScorerConfig

_LONG_ROWS = ("item_embedding", "content_embedding")
READS = (
    "event",
    "item",
    "user",
    "review",
    "graph_edge",
    "owner_text",
    "content_embedding",
    "item_embedding",
    "encoder_release",
)
FEEDBACK = (ENTITIES,)
"""Read where `features.entities` asks for it, as a recipe outside of the pipeline left it."""
WRITES = (
    FOUND,
    "user_profile",
    "training_interaction",
    "training_content",
    "training_item",
    "training_user",
    "training_snapshot",
)


def assemble(
    lakehouse: Lakehouse,
    features: FeaturesConfig,
    event_types: Mapping[str, EventTypeConfig],
    as_of: date | None,
    *,
    refit_on_valid: bool,
    heads: HeadsSettings | None = None,
    scorer: ScorerConfig | None = None,
    context: Sequence[ContextKind] = (),
) -> tuple[dict[str, int], str | None]:
    """Write the snapshot of the current tables and the profiles of all users.

    Args:
        lakehouse: The store.
        features: Settings of interactions, splits and profiles.
        event_types: The declared event types.
        as_of: Events before this date count; see `resolve_as_of`.
        refit_on_valid: Whether profiles know the validation part of data with a given split.
        heads: Which outcomes are kept of each pair; None keeps none.
        scorer: Which texts of items are kept for the scorer; None keeps none.
        context: Parts of the context of requests that are kept for the second stage.

    Returns:
        Counts for job_run, and what a person should look at.

    Raises:
        NoDataError: When no interaction, or more than `features.max_interactions`, come out, or a chosen split leaves
            nothing to train on or to test on.
    """
    users, items = lakehouse.read("user"), lakehouse.read("item")
    reviews, events = lakehouse.read("review"), lakehouse.read("event")
    told = with_devices(events, features.device_attribute) if "device" in context else events
    acts = known_acts(told, reviews if features.count_reviews else None, users, items)
    if features.split != AUTO:
        acts = acts.withColumn("split", F.lit(None).cast("string"))
    span = find_span(acts)
    day = resolve_as_of(span, as_of)
    warning = warn_of_newest(acts, span, as_of)
    seconds_full = features.view_seconds_full
    outcomes = possible_outcomes(event_types, span.types, heads, has_shares=seconds_full is not None) if heads else []
    weighted = lakehouse.stage(
        "weighted_event", weigh_events(acts, event_types, features, span, day, with_outcomes=bool(outcomes))
    )
    cuts = find_cuts(weighted, features, day)
    parted = split_parts(weighted, cuts, features, users, items)
    interactions = lakehouse.stage("pairs", pair_interactions(parted, outcomes, seconds_full))
    about = {"as_of": day.isoformat(), "valid_from": str(cuts.valid_from), "test_from": str(cuts.test_from)}
    if cuts.source not in (GIVEN, BY_TIME):
        about["split"] = cuts.source
    entities = read_entities(lakehouse, items, features.entities)
    num_rows = sum(count_rows(lakehouse, _LONG_ROWS).values())
    with lakehouse.many_rows(num_rows):
        rows = snapshot_contents(lakehouse, users, items, cuts, features, entities)
        contents = lakehouse.stage("training_content", rows)
        snapshot_id = snapshot_hash(interactions, contents.drop("latest_ts"), about)
    counts = _counts(interactions, count_rows(lakehouse, ("item",))["item"])
    empty = require_parts(counts, cuts, features, users, items)
    if counts["interactions"] > features.max_interactions:
        raise NoDataError(
            f"The snapshot has {counts['interactions']} user-item pairs, more than features.max_interactions = "
            f"{features.max_interactions}. Raise it on a machine with 40 bytes of memory for each, or count "
            "fewer event types."
        )
    where = {"snapshot_id": snapshot_id}
    tag = F.lit(snapshot_id).alias("snapshot_id")
    known = known_events(parted, cuts, refit_on_valid=refit_on_valid)
    profiles = user_profiles(users, items, known, rating_types(event_types), features)
    content_rows = contents.select(tag, *contents.columns)
    pair_rows = with_device_columns(interactions).select(tag, "*")
    looks_at_searches = "search" in context
    texts = items_with_texts(lakehouse, items, scorer or ScorerConfig(), for_searches=looks_at_searches)
    item_rows = texts.select(tag, "*")
    searches = user_searches(events, users, cuts) if looks_at_searches else None
    if searches is not None:
        searches = lakehouse.stage("user_search", searches)
    with lakehouse.many_rows(max(num_rows, counts["interactions"])):
        side_by_side(
            [
                lambda: lakehouse.replace_slice("training_content", Staged(content_rows), where),
                lambda: lakehouse.replace_slice("training_interaction", Staged(pair_rows), where),
                lambda: lakehouse.replace_slice("training_item", Staged(item_rows), where),
                lambda: write_found_attributes(lakehouse, entities),
                lambda: _write_users(lakehouse, snapshot_id, users, searches),
                lambda: _write_profiles(lakehouse, profiles, users, counts["users"], features, searches),
            ]
        )
    _write_snapshot_row(lakehouse, snapshot_id, cuts, counts, features)
    return counts, "; ".join(told for told in (warning, empty) if told) or None


def entity_versions(lakehouse: Lakehouse, features: FeaturesConfig) -> dict[str, str]:
    """Version of text_entity where `features.entities` reads it; nothing else."""
    if features.entities is None:
        return {}
    return {name: str(version) for name, version in lakehouse.data_versions(FEEDBACK).items()}


def snapshot_contents(
    lakehouse: Lakehouse,
    users: DataFrame,
    items: DataFrame,
    cuts: Cuts,
    features: FeaturesConfig,
    entities: Entities | None = None,
) -> DataFrame:
    """All feature blocks of the catalogue: fit, feature, item_id, tokens, vector, latest_ts.

    Attributes that the store does not tell are those that a tagger found, where there are entities.
    """
    described, edges = items, lakehouse.read("graph_edge").select("head", "relation", "tail")
    if entities is not None:
        described, edges = entities.filled(items), entities.joined(edges)
    embedding, release = lakehouse.read("item_embedding"), lakehouse.read("encoder_release")
    written = lakehouse.read("review").join(users.select("user_id"), "user_id", "left_semi")
    reviews = lakehouse.stage(
        "review_content",
        review_contents(written, read_owner_text(lakehouse), lakehouse.read("content_embedding"), release),
    )
    blocks = (
        review_vectors(reviews, cuts, ("fit1", "fit2", "fit3"))
        .unionByName(released_vectors(embedding, release), allowMissingColumns=True)
        .unionByName(attribute_tokens(described, features), allowMissingColumns=True)
        .unionByName(graph_tokens(items, edges, features), allowMissingColumns=True)
    )
    if features.graph_dim:
        blocks = blocks.unionByName(graph_vector_features(lakehouse, items, edges, features), allowMissingColumns=True)
    return blocks.join(items.select("item_id"), "item_id", "left_semi").select(
        "fit", "feature", "item_id", "tokens", "vector", "latest_ts"
    )


def _counts(interactions: DataFrame, num_items: int) -> dict[str, int]:
    row = interactions.agg(
        F.count(F.lit(1)).alias("interactions"),
        F.countDistinct("user_id").alias("users"),
        *[F.count(f"{part}_weight").alias(part) for part in PARTS],
    ).collect()[0]
    counts = {"interactions": int(row["interactions"]), "users": int(row["users"]), "items": num_items}
    return counts | {f"{part}_interactions": int(row[part]) for part in PARTS}


def _write_profiles(
    lakehouse: Lakehouse,
    profiles: DataFrame,
    users: DataFrame,
    num_active: int,
    features: FeaturesConfig,
    searches: DataFrame | None,
) -> None:
    gone = lakehouse.read("user_profile").join(users, "user_id", "left_anti")
    measured = lakehouse.stage("measured_profile", profiles)
    tasted = with_tastes(lakehouse, measured, num_active, features.max_segments)
    lakehouse.merge("user_profile", with_last_search(tasted, searches), delete_keys=gone)


def _write_users(lakehouse: Lakehouse, snapshot_id: str, users: DataFrame, searches: DataFrame | None) -> None:
    """Write the users of a snapshot; those who are gone leave earlier snapshots too, with what was known of them."""
    is_of_this = F.col("snapshot_id") == snapshot_id
    stored = lakehouse.read("training_user").select("snapshot_id", "user_id")
    outdated = stored.join(users.withColumn("_is_there", F.lit(True)).select("user_id", "_is_there"), "user_id", "left")
    lakehouse.merge(
        "training_user",
        with_searches(users, searches).select(
            F.lit(snapshot_id).alias("snapshot_id"), "user_id", "attributes", "searches"
        ),
        delete_keys=outdated.where(is_of_this | F.col("_is_there").isNull()),
    )


def _write_snapshot_row(
    lakehouse: Lakehouse, snapshot_id: str, cuts: Cuts, counts: Mapping[str, int], features: FeaturesConfig
) -> None:
    read = READS if features.entities is None else (*READS, *FEEDBACK)
    versions = {name: version for name, version in lakehouse.data_versions(read).items() if version is not None}
    row = (
        snapshot_id,
        cuts.as_of,
        cuts.source,
        cuts.valid_from,
        cuts.test_from,
        versions,
        True,
        counts["users"],
        counts["items"],
        counts["interactions"],
    )
    current = lakehouse.spark.createDataFrame([row], TRAINING_SNAPSHOT.input_schema)
    earlier = lakehouse.read("training_snapshot").where(F.col("snapshot_id") != snapshot_id)
    lakehouse.merge(
        "training_snapshot",
        current.unionByName(earlier.select(*current.columns).withColumn("is_current", F.lit(False))),
    )
