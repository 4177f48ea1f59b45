"""Settings of interactions, splits, profiles and feature blocks."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from mmrec_lib.section import Section

Split = Literal[
    "auto",
    "by_time",
    "by_user_time",
    "random_by_item",
    "cold_items",
    "cold_users",
    "held_out_category",
    "held_out_market",
]
(
    AUTO,
    BY_TIME,
    BY_USER_TIME,
    RANDOM_BY_ITEM,
    COLD_ITEMS,
    COLD_USERS,
    HELD_OUT_CATEGORY,
    HELD_OUT_MARKET,
) = get_args(Split)


class EntityConfig(Section):
    """Parts of texts that a tagger found, which stand in for attributes that the store does not tell.

    Attributes:
        recipe: Recipe of kind tagger whose rows of `text_entity` count.
        attributes: The attribute that each label is about, by label, such as {brand: brand}.
        min_confidence: Least confidence that counts.
        edges: Entities are edges of the knowledge graph as well, of the relations found_<attribute>.
    """

    recipe: str = Field(min_length=1)
    attributes: dict[str, str] = Field(min_length=1)
    min_confidence: float = Field(default=0.8, ge=0, le=1)
    edges: bool = False


class FeaturesConfig(Section):
    """Interactions, splits and profiles.

    Attributes:
        half_life_days: Age at which an event's weight halves; None weighs old and new alike.
        view_seconds_full: Views and listens shorter than this count in proportion; None counts each in full. The
            default lies near the median of the sample store (27 seconds). There validation hardly tells 10, 20, 30, 60
            and none apart (.2519 to .2528 where weights count a little), so it is a convention, not an optimum.
        count_reviews: Reviews count as events of the types `review` (with a rating) and `comment` (without). On the
            sample store nearly all of them repeat a purchase (39 of 14,904 pairs are new): with the same settings fits
            rank alike with and without them (nDCG@10 on test -.0002, 95 % interval -.0017 to .0015; recall@20 +.0015,
            -.0013 to .0042), whatever they weigh. Settings that are searched anew with them cost recall@20 there
            (-.0109, -.0201 to -.0013; nDCG@10 -.0004, -.0054 to .0047).
        split: Division into train, valid and test. auto takes the source's `split` where it brings one, else by_time;
            the others pass over it. by_time: the first events of all in time are train. by_user_time: the first ones of
            each user; the last one is test where a user has two, the one before is valid where a user has three.
            random_by_item: of each item's users a random share. cold_items, cold_users: whole items or users at random,
            so that no item that is tested, or nobody who is tested, has history. held_out_category, held_out_market:
            the items of one category, or the users of one market, are test; the others are train or valid at random.
        split_seed: Seed of the random splits.
        held_out: Category or market that is test, where `split` holds one out.
        market_attribute: Attribute of users that names their market for held_out_market.
        device_attribute: Attribute of events that names the device, where `training.second_stage.context` asks for it.
        train_share: Share that train is made of, where the source brings no split: of the events in time, of an item's
            users, of the items or of the users.
        valid_share: Share that follows as valid; the rest is test.
        max_history: Items kept in a user's history, latest first; scoring sees no more.
        brand_attribute: Attribute of items that names their brand in profiles; as `showing.brand_attribute`.
        max_segments: Segments that users are divided into by their categories, at most; their number follows from the
            data. 0 makes none.
        max_interactions: Largest number of user-item pairs that one training machine takes (about 40 bytes each).
        max_attribute_blocks: Attributes (and, counted apart, relations of the graph) that are a block of features of
            their own, those of the most items first; all others share one block. The time of a fit grows with blocks.
        graph_dim: Dimensions of the vectors that items get from the knowledge graph over several hops, the block
            `relations:vectors`; 0 makes none. What the relations tell in one hop are blocks anyhow, and a fit takes the
            longer the more blocks there are.
        graph_hops: Longest walk of these vectors: two steps lead over what items share, four over entities between.
        max_graph_edges: Largest graph that the driver makes these vectors of (about 200 bytes each).
        min_block_share: Share of the items that an attribute must tell apart to be a block of its own.
        entities: Entities that a recipe found in texts of items, as attributes where the store tells none; None uses
            none.
    """

    half_life_days: float | None = Field(default=None, gt=0)
    view_seconds_full: float | None = Field(default=30.0, gt=0)
    count_reviews: bool = True
    split: Split = AUTO
    split_seed: int = Field(default=0, ge=0)
    held_out: str | None = Field(default=None, min_length=1)
    market_attribute: str = Field(default="country", min_length=1)
    device_attribute: str = Field(default="device", min_length=1)
    train_share: float = Field(default=0.8, gt=0, lt=1)
    valid_share: float = Field(default=0.1, gt=0, lt=1)
    max_history: int = Field(default=2000, ge=1)
    brand_attribute: str = Field(default="brand", min_length=1)
    max_segments: int = Field(default=8, ge=0)
    max_interactions: int = Field(default=100_000_000, ge=1)
    max_attribute_blocks: int = Field(default=24, ge=0)
    graph_dim: int = Field(default=0, ge=0, le=1024)
    graph_hops: int = Field(default=4, ge=1, le=16)
    max_graph_edges: int = Field(default=20_000_000, ge=1)
    min_block_share: float = Field(default=0.02, ge=0, le=1)
    entities: EntityConfig | None = None

    @model_validator(mode="after")
    def _leaves_test(self) -> FeaturesConfig:
        if self.train_share + self.valid_share >= 1:
            raise ValueError("features: train_share + valid_share must leave something for test")
        return self

    @model_validator(mode="after")
    def _names_what_is_held_out(self) -> FeaturesConfig:
        holds_out = self.split in (HELD_OUT_CATEGORY, HELD_OUT_MARKET)
        if holds_out and self.held_out is None:
            raise ValueError(f"features: split={self.split} needs held_out, the category or market that is test")
        if self.held_out is not None and not holds_out:
            raise ValueError(
                f"features: held_out has an effect only with split={HELD_OUT_CATEGORY} or {HELD_OUT_MARKET}, got "
                f"{self.held_out!r} with split={self.split}"
            )
        return self
