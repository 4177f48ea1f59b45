"""A small shop, and a plain reading of the rules, one user and item at a time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from mmrec_lib.showing.config import Condition, Rule, ShowingConfig
from mmrec_lib.showing.controls import CONTROLS_TYPE

STRING_MAP = pa.map_(pa.string(), pa.string())
DAY = date(2025, 7, 1)
Record = dict[str, Any]


def item(item_id: str, **fields: Any) -> Record:
    defaults = {"available": True, "categories": None, "price": None, "markets": None, "attributes": {}}
    return {"item_id": item_id, **defaults, **fields}


def items_table(records: Sequence[Record]) -> pa.Table:
    columns = {
        "item_id": pa.array([r["item_id"] for r in records], pa.string()),
        "available": pa.array([r["available"] for r in records], pa.bool_()),
        "categories": pa.array([r["categories"] for r in records], pa.list_(pa.string())),
        "price": pa.array([r["price"] for r in records], pa.float64()),
        "markets": pa.array([r["markets"] for r in records], pa.list_(pa.string())),
        "attributes": maps([r["attributes"] for r in records]),
    }
    return pa.table(columns)


def maps(attributes: Sequence[Mapping[str, str] | None]) -> pa.Array:
    return pa.array([None if row is None else list(row.items()) for row in attributes], STRING_MAP)


def control(action: str, kind: str, target: str, strength: float | None = None) -> Record:
    return {"action": action, "target_kind": kind, "target": target, "strength": strength}


def controls_array(rows: Sequence[Sequence[Record] | None]) -> pa.Array:
    return pa.array(rows, CONTROLS_TYPE)


def values_of(users: Sequence[Mapping[str, str] | None]) -> dict[str, list[str]]:
    values: dict[str, set[str]] = {}
    for user in users:
        for name, value in (user or {}).items():
            values.setdefault(name, set()).add(value)
    return {name: sorted(found) for name, found in values.items()}


# the plain reading


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def plain_meets(condition: Condition, value: str | None) -> bool:
    if condition.missing:
        return value is None
    if value is None:
        return False
    if condition.is_in is not None and value not in condition.is_in:
        return False
    if condition.not_in is not None and value in condition.not_in:
        return False
    number = _number(value)
    if condition.at_least is not None and (number is None or number < condition.at_least):
        return False
    return condition.below is None or (number is not None and number < condition.below)


def plain_selects(rule: Rule, record: Record) -> bool:
    chosen = rule.items
    if chosen.item_ids is not None and record["item_id"] not in chosen.item_ids:
        return False
    if chosen.categories is not None and not set(chosen.categories) & set(record["categories"] or ()):
        return False
    if chosen.brands is not None and record["attributes"].get("brand") not in chosen.brands:
        return False
    price = record["price"]
    if chosen.price_at_least is not None and (price is None or price < chosen.price_at_least):
        return False
    if chosen.price_below is not None and (price is None or price >= chosen.price_below):
        return False
    return all(plain_meets(condition, record["attributes"].get(condition.attribute)) for condition in chosen.attributes)


def plain_holds(rule: Rule, config: ShowingConfig, user: Mapping[str, str]) -> bool:
    if rule.from_date is not None and rule.from_date > DAY:
        return False
    if rule.until_date is not None and rule.until_date < DAY:
        return False
    if rule.segment is None:
        return True
    return all(plain_meets(c, user.get(c.attribute)) for c in config.segments[rule.segment])


def plain_reasons(
    config: ShowingConfig, record: Record, user: Mapping[str, str], controls: Sequence[Record]
) -> set[tuple[str, str]]:
    """Reasons why an item is kept out of a user's list; empty where it may be shown."""
    found = set()
    if not record["available"]:
        found.add(("not_available", "available"))
    for rule in config.rules:
        if rule.kind == "exclude" and plain_holds(rule, config, user) and plain_selects(rule, record):
            found.add(("excluded", rule.name))
    if config.market_attribute is not None and record["markets"] is not None:
        market = user.get(config.market_attribute, config.default_market)
        if market not in record["markets"]:
            found.add(("market", config.market_attribute))
    rating = record["attributes"].get(config.age_rating_attribute)
    if config.age_rating_attribute is not None and rating is not None:
        least = config.age_ratings.get(rating, _number(rating))
        age = _number(user.get(config.age_attribute))
        age = config.default_age if age is None else age
        if least is None:
            found.add(("age_rating_unknown", config.age_attribute))
        elif least > (age or 0):
            found.add(("age", config.age_attribute))
    for one in controls:
        if one["action"] in ("block", "mute") and _hits(one, record):
            found.add(("blocked", f"{one['action']} {one['target_kind']} {one['target']}"))
    return found


def plain_boost(config: ShowingConfig, record: Record, user: Mapping[str, str], controls: Sequence[Record]) -> float:
    total = 0.0
    for rule in config.rules:
        if rule.kind in ("boost", "bury") and plain_holds(rule, config, user) and plain_selects(rule, record):
            total += rule.amount if rule.kind == "boost" else -rule.amount
    for one in controls:
        if one["action"] in ("less", "boost") and _hits(one, record):
            strength = config.control_strength if one["strength"] is None else one["strength"]
            total += strength if one["action"] == "boost" else -strength
    return total


def _hits(one: Record, record: Record) -> bool:
    names = {
        "item": [record["item_id"]],
        "category": record["categories"] or [],
        "brand": [record["attributes"].get("brand")],
    }
    return one["target"] in names[one["target_kind"]]


# random shops

CATEGORIES, BRANDS, MARKETS = ("Hats", "Coats", "Shoes"), ("Acme", "Bolt"), ("DE", "FR", "US")


def random_items(rng: random.Random, num_items: int) -> list[Record]:
    """Items of which the first few carry every name, so that rules may name all of them."""
    records = []
    for number in range(num_items):
        attributes = {
            "brand": BRANDS[number % 2] if number < 2 else rng.choice([*BRANDS, None]),
            "stock": rng.choice(["0", "3", " 12", "+7", "1e1", "many", None]) if number else "5",
            "rating": rng.choice(["6", "12", "PG-13", "16", "odd", None, None]) if number else "16",
        }
        records.append(
            item(
                f"i{number:03}",
                available=rng.random() < 0.9,
                categories=list(CATEGORIES) if not number else rng.choice([None, [], ["Hats"], ["Coats", "Shoes"]]),
                price=rng.choice([None, 5.0, 20.0, 99.5]),
                markets=rng.choice([None, [], ["DE"], ["FR", "DE"], ["US"]]) if number else list(MARKETS),
                attributes={name: value for name, value in attributes.items() if value is not None},
            )
        )
    rng.shuffle(records)
    return records


def random_users(rng: random.Random, num_users: int) -> list[dict[str, str] | None]:
    users: list[dict[str, str] | None] = [{"country": "DE", "age": "30", "tier": "gold"}]
    for _ in range(num_users - 1):
        user = {
            "country": rng.choice(["DE", "FR", "US", "XX", None]),
            "age": rng.choice(["5", "6", "12", "13.5", "44", "old", None]),
            "tier": rng.choice(["gold", "tin", None]),
        }
        users.append(rng.choice([None, {name: value for name, value in user.items() if value is not None}]))
    return users


def used_segments(segments: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Those that some rule names; others are refused."""
    named = {rule.get("segment") for rule in rules}
    return {name: conditions for name, conditions in segments.items() if name in named}


def random_config(rng: random.Random, *more_rules: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that no guard refuses, without pins of its own."""
    selectors: list[dict[str, Any]] = [
        {"item_ids": ["i000", "i003"]},
        {"categories": ["Hats"]},
        {"categories": ["Coats", "Shoes"], "price_below": 50},
        {"brands": ["Bolt"]},
        {"price_at_least": 20},
        {"attributes": [{"attribute": "stock", "below": 5}]},
        {"attributes": [{"attribute": "stock", "missing": True}]},
        {"attributes": [{"attribute": "stock", "at_least": 7, "not_in": ["1e1"]}], "brands": ["Acme"]},
    ]
    rules: list[Mapping[str, Any]] = []
    for number in range(rng.randint(0, 6)):
        kind = rng.choice(["exclude", "boost", "bury"])
        rule = {"name": f"r{number}", "kind": kind, "items": rng.choice(selectors)}
        rule["segment"] = rng.choice([None, "adults", "not_de", "gold_de"])
        rule["from_date"] = rng.choice([None, None, "2025-07-01", "2025-07-02"])
        rule["until_date"] = rng.choice([None, None, "2025-07-03"])
        if kind != "exclude":
            rule["amount"] = rng.choice([0.25, 0.5, 2.0])
        rules.append(rule)
    rules += more_rules
    segments = {
        "adults": [{"attribute": "age", "at_least": 18}],
        "not_de": [{"attribute": "country", "not_in": ["DE"]}],
        "gold_de": [{"attribute": "tier", "is_in": ["gold"]}, {"attribute": "country", "is_in": ["DE"]}],
    }
    return {
        "rules": rules,
        "segments": used_segments(segments, rules),
        **rng.choice(
            [{}, {"market_attribute": "country"}, {"market_attribute": "country", "default_market": "FR"}],
        ),
        **rng.choice(
            [
                {},
                {"age_rating_attribute": "rating", "age_ratings": {"PG-13": 13}, "default_age": rng.choice([None, 12])},
            ]
        ),
        "control_strength": 0.75,
        "max_removed_share": 1.0,
    }


def random_controls(rng: random.Random) -> list[Record] | None:
    if rng.random() < 0.5:
        return None
    pool = [
        control("block", "item", "i002"),
        control("block", "item", "gone"),
        control("mute", "brand", "Acme"),
        control("mute", "category", "Hats"),
        control("less", "category", "Shoes"),
        control("less", "brand", "Bolt", 0.5),
        control("boost", "category", "Coats", 2.0),
        control("boost", "brand", "Nobody"),
    ]
    return rng.sample(pool, rng.randint(0, 4))
