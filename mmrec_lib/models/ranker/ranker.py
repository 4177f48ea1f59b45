"""The fusion ranker: collaborative sources, content, popularity and demographics in one dot product.

A user's vector is [distilled | popularity | groups | 1], an item's [distilled | log popularity | log-ratios | shift].
Users without history have zeros in the distilled part and other weights on popularity and groups, so they are served by
the same dot product, exactly. Items without interactions get their distilled part from content.

Shape letters: n users of a block, I items, W items with interactions, V length of the vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.alignment.aligner import Aligner
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Bools, Content, Floats, Histories, Ints, history_rows, picked_columns, row_blocks
from mmrec_lib.models.heads.heads import Heads
from mmrec_lib.models.ids import IdIndex
from mmrec_lib.models.ranker.explanation import Explanation, ProjectedUsers, explained_blocks, in_parts
from mmrec_lib.models.ranker.fusion import Scale, entry_rows, relative_weights
from mmrec_lib.models.ranker.projection import Projector, Search, filled_up, plain_search
from mmrec_lib.models.ranker.saved import arrays_under, read_saved, write_saved
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.models.second_stage.model import SecondStage
from mmrec_lib.models.sources.base import Source
from mmrec_lib.models.sources.cold_items import ColdItemModel
from mmrec_lib.models.sources.content import BlockTransform
from mmrec_lib.models.sources.groups import Group
from mmrec_lib.models.sources.popularity import PopularityModel
from mmrec_lib.models.sources.registry import source_type
from mmrec_lib.topk.selection import NO_ITEM, TopItems, select_top

_USERS_AT_ONCE = 256  # whose candidates the second stage orders

KIND = "ranker"


@dataclass(frozen=True)
class FittedRanker:
    """A fitted ranker; see `fit_ranker`.

    Attributes:
        settings: Settings of the fit.
        item_ids: [I] ids of the catalogue at the fit.
        warm: [I] which items had interactions.
        sources: Collaborative sources over the W warm items.
        popularity: Popularity and groups over all items.
        cold_items: Vectors from contents; None without content.
        distilled: [I, dim] float32 distilled item vectors, warm and cold.
        shift: [I] float32 constant of each item, not 0 for cold ones.
        second_stage: Orders the candidates of users with history; None where the dot product decides.
        heads: Say how probable outcomes are; None where none were trained.
        scorer: Decision on a scorer outside of the model; None where none was tried. The methods here order without it.
        aligner: Joint space that vectors from content need; None where they need none.
    """

    settings: RankerSettings
    item_ids: npt.NDArray[np.str_]
    warm: Bools
    sources: Mapping[str, Source[Any]]
    popularity: PopularityModel
    cold_items: ColdItemModel | None
    distilled: Floats
    shift: Floats
    second_stage: SecondStage | None = None
    heads: Heads | None = None
    scorer: ScorerWeight | None = None
    aligner: Aligner | None = None

    @cached_property
    def _item_vectors(self) -> Floats:
        popularity = self.popularity
        columns = [self.distilled, popularity.log_popularity[:, None], popularity.log_ratios, self.shift[:, None]]
        return np.hstack(columns).astype(np.float32)

    @cached_property
    def _warm_columns(self) -> Ints:
        return np.flatnonzero(self.warm)

    @cached_property
    def _column_of_item(self) -> npt.NDArray[np.int32]:
        """[I] position of an item among those with interactions, or -1."""
        return np.where(self.warm, np.cumsum(self.warm) - 1, -1).astype(np.int32)

    @cached_property
    def _projector(self) -> Projector:
        return Projector(self.sources, self.settings.fusion, self.distilled[self.warm])

    @cached_property
    def item_index(self) -> IdIndex:
        """Positions of the items of the fit."""
        return IdIndex(self.item_ids, "items of the fit")

    @property
    def vector_dim(self) -> int:
        """Length of user and item vectors."""
        return int(self._item_vectors.shape[1])

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Attributes of users that the ranker looks at."""
        of_context = () if self.second_stage is None else self.second_stage.attribute_names
        return tuple(sorted({*of_context, *(group.attribute for group in self.popularity.groups)}))

    def item_vectors(self) -> Floats:
        """Vectors of the catalogue, [I, V] float32, in the order of item_ids."""
        return self._item_vectors

    def item_vectors_from_content(self, contents: Mapping[str, Content], num_items: int) -> Floats:
        """Vectors of items that were not there at the fit, [num_items, V] float32.

        Args:
            contents: Their contents; blocks unknown to the fit are ignored, missing ones count as missing.
            num_items: How many items.

        Raises:
            ModelError: When a block does not fit the one of the fit.
        """
        vectors = np.zeros((num_items, self.vector_dim), dtype=np.float32)
        dim = self.distilled.shape[1]
        if self.cold_items is not None:
            known = contents if self.aligner is None else self.aligner.with_block(contents, num_items)
            vectors[:, :dim] = self.cold_items.vectors(known, num_items)
        vectors[:, dim] = self.popularity.log_popularity.min(initial=0.0)
        vectors[:, -1] = self.settings.cold_items.shift
        return vectors

    def user_vectors(self, histories: Histories) -> Floats:
        """Vectors of users from histories and attributes, [n, V] float32."""
        return self.project(histories).vectors

    def project(
        self, histories: Histories, search: Search = plain_search, users_at_once: int | None = None
    ) -> ProjectedUsers:
        """Vectors of users with what an explanation of their scores needs.

        Args:
            histories: n users.
            search: Exact top-k, for sources of low rank over large catalogues.
            users_at_once: Users of each matrix product, the last filled up with users without history, so that a user's
                vector is the same to the last bit whoever else is asked for: products of another shape round
                differently. Where not given, as many as the settings say and no others.

        Raises:
            ModelError: When histories are not over the catalogue of the fit.
        """
        self._check(histories)
        dim = self.distilled.shape[1]
        vectors = np.zeros((len(histories), self.vector_dim), dtype=np.float32)
        x_NW = self._known(histories)
        scales: list[Mapping[str, Scale]] = []
        for rows in row_blocks(len(histories), users_at_once or self.settings.user_block):
            num_users = rows.stop - rows.start
            block = filled_up(x_NW[rows], users_at_once or num_users)
            projected, of_block = self._projector.project(block, search)
            vectors[rows, :dim] = projected[:num_users]
            scales.append({name: scale.first(num_users) for name, scale in of_block.items()})
        warm_users = self._has_history(x_NW)
        vectors[~warm_users, :dim] = 0.0
        chosen = self.settings.popularity
        vectors[:, dim] = np.where(warm_users, chosen.warm_weight, 1.0)
        weight = np.where(warm_users, chosen.warm_group_weight, chosen.group_weight)[:, None]
        vectors[:, dim + 1 : -1] = self.popularity.codes(histories.attributes, len(histories)) * weight
        vectors[:, -1] = 1.0
        joined = {name: Scale.joined([of_block[name] for of_block in scales]) for name in self.sources}
        return ProjectedUsers(histories, vectors, x_NW, joined)

    def score(self, histories: Histories, search: Search = plain_search) -> Floats:
        """Scores of users over the catalogue, [n, I] float32: user vectors (see `project`) times item vectors.

        With a second stage the best unseen items of users with history have each other's scores, in its order.
        """
        users = self.project(histories, search)
        scores: Floats = users.vectors @ self._item_vectors.T
        if self.second_stage is None:
            return scores
        for rows in row_blocks(len(users), _USERS_AT_ONCE):
            part = users.rows(rows)
            first = self.candidates(part, self.second_stage.num_candidates, scores[rows])
            top = self.in_second_stage(part, first)
            users_at, places = np.nonzero(top.indices != NO_ITEM)
            scores[rows.start + users_at, top.indices[users_at, places]] = top.scores[users_at, places]
        return scores

    def select(self, users: ProjectedUsers, scores: Floats, k: int) -> TopItems:
        """The best k items of each user, in the order of the second stage where there is one.

        Args:
            users: n users, see `project`.
            scores: [n, I] scores, -inf for what must not be listed.
            k: How many.
        """
        if self.second_stage is None:
            return select_top(scores, k)
        top = self.in_second_stage(users, select_top(scores, max(k, self.second_stage.num_candidates)))
        return TopItems(top.indices[:, :k], top.scores[:, :k])

    def in_second_stage(self, users: ProjectedUsers, top: TopItems) -> TopItems:
        """Candidates in the order of the second stage; the scores stay, in their order.

        Only as many candidates as the second stage was fitted with are ordered; the others follow.

        Args:
            users: n users, see `project`.
            top: Items of the fit, best first.
        """
        assert self.second_stage is not None
        first = slice(0, self.second_stage.num_candidates)
        at = self.order(users, top.indices[:, first], top.scores[:, first])
        indices = top.indices.copy()
        indices[:, first] = np.take_along_axis(indices[:, first], at, axis=1)
        return TopItems(indices, top.scores)

    def candidates(self, users: ProjectedUsers, k: int, scores: Floats | None = None) -> TopItems:
        """The best items by the dot product that are not in the history, [n, k]; see `select_top`.

        Args:
            users: n users, see `project`.
            k: How many.
            scores: [n, I] their scores, where they are there already; left as they are.
        """
        unseen = users.vectors @ self._item_vectors.T if scores is None else scores.copy()
        weights = users.histories.weights
        unseen[np.repeat(np.arange(len(users)), np.diff(weights.indptr)), weights.indices] = -np.inf
        return select_top(unseen, k)

    def order(self, users: ProjectedUsers, items: npt.NDArray[np.integer], scores: Floats) -> Ints:
        """[n, C] the candidate that stands at each place in the second stage's order; see `SecondStage.order`.

        Args:
            users: n users, see `project`.
            items: [n, C] positions of the candidates in the catalogue of the fit, best first; NO_ITEM where there is
                none.
            scores: [n, C] their scores.
        """
        assert self.second_stage is not None
        found = []
        for rows in explained_blocks(np.diff(users.known.indptr), items.shape[1]):
            part = users.rows(rows)
            shares = self.shares(part, np.maximum(items[rows], 0))
            has_history = self._has_history(part.known)
            found.append(self.second_stage.order(part.histories, items[rows], scores[rows], shares, has_history))
        return np.concatenate(found) if found else np.zeros(items.shape, dtype=np.int64)

    def explain(self, users: ProjectedUsers, items: npt.NDArray[np.integer]) -> Explanation:
        """Shares of the sources in the scores of some items of each user, and the pull of each item of the history.

        Args:
            users: n users, see `project`.
            items: [n, K] positions of items in the catalogue.
        """
        pulls = np.zeros((users.known.nnz, items.shape[1]), dtype=np.float32)
        return Explanation(self.shares(users, items, pulls), pulls)

    def shares(
        self, users: ProjectedUsers, items: npt.NDArray[np.integer], pulls: Floats | None = None
    ) -> dict[str, Floats]:
        """Shares of the sources in the scores of some items of each user; see `Explanation`.

        Args:
            users: n users, see `project`.
            items: [n, K] positions of items in the catalogue.
            pulls: [E, K] zeros that get the pull of each entry of the histories; None leaves them out.
        """
        picked = np.asarray(items, dtype=np.int64)
        vectors_NV, x_NW, dim = users.vectors, users.known, self.distilled.shape[1]
        is_cold = ~self.warm[picked]
        column = np.maximum(self._column_of_item[picked].astype(np.int64), 0)
        user_at = np.repeat(np.arange(len(users)), picked.shape[1])
        is_seen = np.asarray(x_NW[user_at, column.ravel()] != 0).reshape(picked.shape)
        rows, weights = entry_rows(x_NW), relative_weights(self.sources, self.settings.fusion)
        is_silent = is_cold | ~self._has_history(x_NW)[:, None]
        entries_of = sparse.csr_matrix(
            (np.ones(x_NW.nnz, np.float32), np.arange(x_NW.nnz), x_NW.indptr), shape=(len(users), x_NW.nnz)
        )
        shares = {}
        for name, source in self.sources.items():
            parts, scale = source.contributions(x_NW, column), users.scales[name]
            share = scale.apply(entries_of @ parts, is_seen) * weights[name]
            shares[name] = np.where(is_silent, np.float32(0), share)
            if pulls is not None:
                pulls += parts * (weights[name] / scale.deviation)[rows, None]
        picked_NKV = self._item_vectors[picked]
        distilled = np.einsum("nv,nkv->nk", vectors_NV[:, :dim], picked_NKV[:, :, :dim])
        for entries, places in in_parts(*np.nonzero(is_cold[rows])):
            if pulls is None:
                break
            own = self.distilled[self._warm_columns[x_NW.indices[entries]]]
            alike = np.einsum("pd,pd->p", own, self.distilled[picked[rows[entries], places]])
            pulls[entries, places] = x_NW.data[entries] * alike
        shares["content"] = np.where(is_cold, distilled + picked_NKV[:, :, -1], 0.0).astype(np.float32)
        shares["popularity"] = vectors_NV[:, dim, None] * picked_NKV[:, :, dim]
        shares["demographics"] = np.einsum("nv,nkv->nk", vectors_NV[:, dim + 1 : -1], picked_NKV[:, :, dim + 1 : -1])
        shares["residual"] = np.einsum("nv,nkv->nk", vectors_NV, picked_NKV) - sum(shares.values())
        return {name: share.astype(np.float32) for name, share in shares.items()}

    def save(self, folder: Path) -> None:
        """Write the model as safetensors and JSON; see `load`."""
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "warm": self.warm,
            "distilled": self.distilled,
            "shift": self.shift,
            "log_popularity": self.popularity.log_popularity,
            "log_ratios": self.popularity.log_ratios,
        }
        for name, source in self.sources.items():
            arrays |= {f"source/{name}/{key}": value for key, value in source.arrays().items()}
        blocks = []
        if self.cold_items is not None:
            arrays["cold/mean"] = self.cold_items.mean
            for position, (name, transform) in enumerate(self.cold_items.transforms.items()):
                arrays[f"cold/{position}/offset"] = transform.offset
                arrays[f"cold/{position}/coefficients"] = self.cold_items.coefficients[name]
                blocks.append({"name": name, "kind": transform.kind, "tokens": list(transform.tokens)})
        if self.second_stage is not None:
            arrays |= {f"second_stage/{name}": array for name, array in self.second_stage.arrays().items()}
        if self.aligner is not None:
            arrays |= {f"alignment/{name}": array for name, array in self.aligner.arrays().items()}
        write_saved(
            folder,
            KIND,
            arrays,
            {
                "settings": self.settings.model_dump(mode="json"),
                "item_ids": self.item_ids.tolist(),
                "sources": list(self.sources),
                "groups": [group.model_dump(mode="json") for group in self.popularity.groups],
                "has_cold_items": self.cold_items is not None,
                "content_blocks": blocks,
                "second_stage": None if self.second_stage is None else self.second_stage.meta(),
                "heads": None if self.heads is None else self.heads.meta(),
                **({} if self.scorer is None else {"scorer": self.scorer.meta()}),
                "alignment": None if self.aligner is None else self.aligner.meta(),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> FittedRanker:
        """Read what `save` wrote.

        Raises:
            ModelError: When the folder holds no saved ranker, or one with a source that is not registered.
        """
        arrays, meta = read_saved(folder, KIND)
        types = {name: source_type(name) for name in meta["sources"]}
        settings, sources = RankerSettings.model_validate(meta["settings"]), {}
        for name, source in types.items():
            sources[name] = source.load(arrays_under(arrays, f"source/{name}/"), settings.of(source))
        cold_items = None
        if meta["has_cold_items"]:
            transforms, coefficients = {}, {}
            for position, block in enumerate(meta["content_blocks"]):
                name, kind, tokens = block["name"], block["kind"], tuple(block["tokens"])
                transforms[name] = BlockTransform(name, kind, arrays[f"cold/{position}/offset"], tokens)
                coefficients[name] = arrays[f"cold/{position}/coefficients"]
            cold_items = ColdItemModel(arrays["cold/mean"], coefficients, transforms, settings.cold_items)
        groups = tuple(Group.model_validate(group) for group in meta["groups"])
        second_stage = None
        if meta.get("second_stage") is not None:
            second_stage = SecondStage.load(arrays_under(arrays, "second_stage/"), meta["second_stage"])
        of_space = meta.get("alignment")
        aligner = None if of_space is None else Aligner.load(arrays_under(arrays, "alignment/"), of_space)
        return cls(
            settings=settings,
            item_ids=np.array(meta["item_ids"], dtype=np.str_),
            warm=arrays["warm"].astype(np.bool_),
            sources=sources,
            popularity=PopularityModel(arrays["log_popularity"], arrays["log_ratios"], groups),
            cold_items=cold_items,
            distilled=arrays["distilled"],
            shift=arrays["shift"],
            second_stage=second_stage,
            heads=None if meta.get("heads") is None else Heads.load(meta["heads"]),
            scorer=None if meta.get("scorer") is None else ScorerWeight.load(meta["scorer"]),
            aligner=aligner,
        )

    def _check(self, histories: Histories) -> None:
        if histories.weights.shape[1] != len(self.item_ids):
            raise ModelError(
                f"ranker: histories must have one column for each of the {len(self.item_ids)} items of the fit, got "
                f"{histories.weights.shape[1]}; map them by item_ids"
            )

    def _known(self, histories: Histories) -> sparse.csr_matrix:
        known = picked_columns(histories.weights, self._column_of_item, len(self._warm_columns))
        return history_rows(known, self.settings.weight_exponent)

    @staticmethod
    def _has_history(x_NW: sparse.csr_matrix) -> Bools:
        return np.asarray(np.diff(x_NW.indptr) > 0)
