"""Effects of rules and re-ranking: lists of an evaluated fit, made as those of a scoring run, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.effects import OWN_ORDER, RERANKED, WITH_RULES, ListFacts, list_effects
from mmrec_lib.evaluation.evaluate import relevant_of_some
from mmrec_lib.evaluation.rankings import without_seen
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.features.load import (
    SEGMENT_ATTRIBUTE,
    Snapshot,
    SnapshotItems,
    load_items,
    with_segment_attribute,
)
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.data import FitData
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer import CandidateScorer
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import ItemFacts
from mmrec_lib.scoring.arrow_lists import lists_of_rows
from mmrec_lib.scoring.catalogue import Catalogue, listed_places
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.histories import last_searches
from mmrec_lib.scoring.profiles import user_seed
from mmrec_lib.scoring.scorer import in_order_of_scorer, judged_places
from mmrec_lib.scoring.second_stage import in_second_stage
from mmrec_lib.scoring.shown_items import NO_CONTROLS, content_space, item_columns, item_facts, item_rules, new_items
from mmrec_lib.scoring.users import score_batch, search_in_task
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.rules_file import asks_items, user_attributes_of
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import prepare_items

Places = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ListSettings:
    """Settings that decide what users get of a ranker's order.

    Attributes:
        lists: Lengths of lists.
        showing: Rules of what may be shown.
        reranking: Steps after the search.
    """

    lists: ListConfig
    showing: ShowingConfig
    reranking: RerankingConfig

    @property
    def change_lists(self) -> bool:
        """True where rules, worths or re-ranking make lists other than the ranker's own."""
        return self.reranking.is_on or bool(self.lists.worths) or asks_items(self.showing)


@dataclass(frozen=True)
class ListEffects:
    """Measures lists of the fits of a snapshot as users get them: under the rules, then re-ranked.

    What users control themselves is left out: it is no setting.

    Attributes:
        lakehouse: The store.
        snapshot: Users, items and what happened.
        settings: Those of a scoring run.
        scorer: The scorer over the items of the snapshot, for rankers that have a weight for it.
    """

    lakehouse: Lakehouse
    snapshot: Snapshot
    settings: ListSettings
    scorer: CandidateScorer | None = None

    def __call__(self, fit: str, part: str, ranker: FittedRanker, config: EvaluationConfig) -> list[MetricRow]:
        """Metrics of the ranker's own lists, of those under the rules and of the re-ranked ones.

        The users are those that `evaluate` looks at: with something to find, a seeded sample above `max_users`.

        Args:
            fit: Data of the fit.
            part: valid or test.
            ranker: The fitted ranker.
            config: Cut-offs, bootstrap and sizes.

        Returns:
            Rows of the segment `lists`; none where nobody has anything to find.
        """
        data, relevant = self.snapshot.fit_data(fit), self.snapshot.parts[part].weights
        seen = data.interactions.weights
        wanted = without_seen(relevant_of_some(relevant, seen, config.max_users, seed=0), seen)
        users = np.flatnonzero(np.diff(wanted.indptr) > 0)
        if not len(users):
            return []
        facts = replace(self._facts, is_new=new_items(self.snapshot.item_ids, ranker))
        measured = ListFacts(
            popularity=data.interactions.item_counts(),
            vectors=self._content_space,
            categories=facts.categories,
            history=seen[users],
            relevant=wanted[users],
        )
        lists = self._lists(users, data, ranker, facts, config)
        return list_effects(lists, measured, ks=config.ks, num_bootstrap=config.num_bootstrap)

    def _lists(
        self,
        users: npt.NDArray[np.intp],
        data: FitData,
        ranker: FittedRanker,
        facts: ItemFacts,
        config: EvaluationConfig,
    ) -> dict[str, Places]:
        """[n, at least the largest cut-off] places of items by model, in blocks of users."""
        settings, item_ids = self.settings, self.snapshot.item_ids
        steps = {WITH_RULES: RerankingConfig()}
        if settings.reranking.is_on:
            steps[RERANKED] = settings.reranking
        blocks: dict[str, list[Places]] = {name: [] for name in (OWN_ORDER, *steps)}
        second_stage = ranker.second_stage
        is_judged = ranker.scorer is not None and ranker.scorer.is_used
        scorer = self.scorer if is_judged else None
        catalogue = Catalogue(ranker, item_ids, ranker.item_vectors(), self._rules, facts, scorer=scorer)
        num_judged = judged_places(catalogue, {})
        items, histories = prepare_items(ranker.item_vectors()), data.histories()
        unexplained = settings.lists.model_copy(update={"explained_ranks": 0})
        length = max(*config.ks, settings.lists.k)
        for rows in np.array_split(users, -(-len(users) // config.block_users(len(item_ids)))):
            own = histories.rows(rows)
            projected = ranker.project(own, search_in_task)
            num_listed = max(length, num_judged)
            num_candidates = num_listed if second_stage is None else max(num_listed, second_stage.num_candidates)
            top = search(items, projected.vectors, num_candidates, seen=own.weights)
            own_order = top if second_stage is None else in_second_stage(projected, top, catalogue, num_listed)
            batch = self._batch(rows, data)
            own_order = in_order_of_scorer(batch, own_order, catalogue, num_judged)
            blocks[OWN_ORDER].append(own_order.indices[:, :length])
            for name, reranking in steps.items():
                scored = score_batch(batch, catalogue, unexplained, reranking)
                blocks[name].append(listed_places(scored["item_ids"], catalogue, length))
        return {name: np.concatenate(parts) for name, parts in blocks.items()}

    @cached_property
    def _items(self) -> SnapshotItems:
        return load_items(self.lakehouse, item_columns(self.settings.showing, self.settings.reranking, NO_CONTROLS))

    @cached_property
    def _users(self) -> DataFrame:
        rows = self.lakehouse.read("training_user").where(F.col("snapshot_id") == self.snapshot.snapshot_id)
        users = rows.select("user_id", "attributes")
        if SEGMENT_ATTRIBUTE not in user_attributes_of(self.settings.showing, self.snapshot.cuts.as_of):
            return users
        segments = self.lakehouse.read("user_profile").select("user_id", "segment")
        return with_segment_attribute(users.join(segments, "user_id", "left")).drop("segment")

    @cached_property
    def _rules(self) -> ItemRules:
        settings = self.settings
        return item_rules(self._items, self._users, settings.showing, settings.lists.k)

    @cached_property
    def _content_space(self) -> npt.NDArray[np.float32] | None:
        return content_space(self.snapshot.fit_data("fit3").contents)

    @cached_property
    def _facts(self) -> ItemFacts:
        brand, steps = self.settings.showing.brand_attribute, self.settings.reranking
        return item_facts(self._items, lambda: self._content_space, steps, brand)

    @cached_property
    def _attributes_and_seeds(self) -> tuple[pa.Array, pa.Array]:
        """Attributes and seed of each user of the snapshot."""
        seeds = self._users.select("*", user_seed(self.snapshot.cuts.as_of).alias("seed"))
        table = pa.Table.from_batches(list(self.lakehouse.stream_arrow("measured_users", seeds.coalesce(1))))
        at = pc.index_in(pa.array(self.snapshot.user_ids, pa.string()), value_set=table["user_id"].combine_chunks())
        attributes, seed = (table[name].combine_chunks().take(at) for name in ("attributes", "seed"))
        return attributes, seed

    def _batch(self, users: npt.NDArray[np.intp], data: FitData) -> pa.RecordBatch:
        """Users of the snapshot as `score_batch` takes them: what they turned to in the fit is history and seen."""
        attributes, seeds = (column.take(pa.array(users)) for column in self._attributes_and_seeds)
        own = data.interactions.weights[users]
        lengths = np.diff(own.indptr)
        history = lists_of_rows(pa.array(self.snapshot.item_ids[own.indices], pa.string()), lengths)
        return pa.RecordBatch.from_pydict(
            {
                "user_id": pa.array(self.snapshot.user_ids[users], pa.string()),
                "attributes": attributes,
                "history_items": history,
                "history_weights": lists_of_rows(pa.array(own.data.astype(np.float64)), lengths),
                "history_times": lists_of_rows(pa.array(data.interactions.times[users].data), lengths),
                "seen_item_ids": history,
                "input_hash": pa.nulls(len(users), pa.int64()),
                "seed": seeds,
                **last_searches(data.searches, users, len(self.snapshot.user_ids)),
            }
        )
