"""The report's users with what explains their lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyspark.sql import functions as F

from mmrec_lib.errors import ModelError
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.ranker.list_explanations import ItemExplanation
from mmrec_lib.publishing.explanations import ListExplainer
from mmrec_lib.reporting.config import ExplanationConfig
from mmrec_lib.reporting.data import Recommendation, ShownUser, WithoutHistoryItem
from mmrec_lib.tracking.registry import RegisteredModel, Registry

_MAX_TITLE = 200


def explained_users(
    lakehouse: Lakehouse,
    registry: Registry,
    model: RegisteredModel | None,
    users: Sequence[ShownUser],
    tables: Mapping[str, int],
    config: ExplanationConfig,
) -> tuple[Sequence[ShownUser], str]:
    """The users with shares of modalities and ranks without items of their histories.

    Args:
        lakehouse: Tables.
        registry: Models.
        model: The model of the lists; None explains nothing.
        users: Users with their lists.
        tables: Rows by table.
        config: Up to which size shares of modalities are told.

    Returns:
        The users, and a sentence why shares of modalities are not told, empty where they are.
    """
    lists = {user.user_id: [line.card.item_id for line in user.recommendations] for user in users}
    if model is None or not any(lists.values()):
        return users, ""
    explainer = ListExplainer(lakehouse, registry, model)
    note = _too_large(tables, config)
    try:
        found = explainer.explain(lists, max_modalities=0 if note else config.max_modalities)
    except ModelError as error:
        note = f"Shares of modalities are not told. {error}"
        found = explainer.explain(lists, max_modalities=0)
    titles = _titles(lakehouse, found)
    return [_with_explanations(user, found.get(user.user_id, ()), titles) for user in users], note


def _too_large(tables: Mapping[str, int], config: ExplanationConfig) -> str:
    bounds = (("item", config.max_items, "max_items"), ("training_interaction", config.max_pairs, "max_pairs"))
    for table, limit, name in bounds:
        if tables.get(table, 0) > limit:
            return (
                f"Shares of modalities are not told: {tables[table]:,} rows of {table} are more than "
                f"report.explanations.{name} = {limit:,}."
            )
    return (
        "" if config.max_modalities else "Shares of modalities are not told: report.explanations.max_modalities is 0."
    )


def _titles(lakehouse: Lakehouse, found: Mapping[str, Sequence[ItemExplanation]]) -> dict[str, str]:
    """Titles of the items of histories that are spoken of."""
    ids = sorted({item.without[0].item_id for items in found.values() for item in items if item.without})
    if not ids:
        return {}
    rows = lakehouse.read("item").where(F.col("item_id").isin(ids))
    title = F.substring("title", 1, _MAX_TITLE).alias("title")
    return {row["item_id"]: row["title"] or row["item_id"] for row in rows.select("item_id", title).collect()}


def _with_explanations(user: ShownUser, items: Sequence[ItemExplanation], titles: Mapping[str, str]) -> ShownUser:
    by_id = {item.item_id: item for item in items}

    def explained(line: Recommendation) -> Recommendation:
        item = by_id.get(line.card.item_id)
        if item is None:
            return line
        most = item.without[0] if item.without and item.without[0].places_lost > 0 else None
        without = None
        if most is not None:
            without = WithoutHistoryItem(titles.get(most.item_id, most.item_id), most.rank, most.rank_without)
        return replace(line, modality_shares=item.modality_shares, without=without)

    return replace(user, recommendations=[explained(line) for line in user.recommendations])
