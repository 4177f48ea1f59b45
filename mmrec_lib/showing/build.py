"""Rules and a catalogue → what may be shown to whom, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.catalogue import RuleItems
from mmrec_lib.showing.config import ExcludeRule, PinRule, RuleSet, ShowingConfig
from mmrec_lib.showing.conflicts import check_pins
from mmrec_lib.showing.controls import ControlIndex, SoftTargets
from mmrec_lib.showing.guards import check_removed_share
from mmrec_lib.showing.item_rules import NO_GROUP, Exclusion, ItemRules, Pin, allowed_items
from mmrec_lib.showing.labels import Labels, positions
from mmrec_lib.showing.rules_file import active_rules
from mmrec_lib.showing.user_tests import MAX_EXCLUDING_SEGMENTS, UserTests

Flags = npt.NDArray[np.bool_]
MAX_PINS = 20
"""Items that one rule may pin; a rule that selects more is a mistake."""


def build_rules(
    items: pa.Table,
    config: ShowingConfig,
    as_of: date,
    user_values: Mapping[str, Sequence[str]],
    *,
    soft_controls: SoftTargets | None = None,
) -> ItemRules:
    """Put the rules of a day against a catalogue.

    Args:
        items: item_id and available in the catalogue's order; categories, price, markets, attributes and brand where
            the configuration or controls need them.
        config: Markets, ages, segments and rules; by default all available items are for everybody.
        as_of: The day: rules hold from their `from_date` to their `until_date`, both included.
        user_values: Values that occur among the users, by attribute; see `rules_file.user_attributes_of`.
        soft_controls: Categories and brands that some user boosts or lessens, by kind. None where there are no controls
            at all, which saves reading the items' categories and brands.

    Raises:
        ShowingError: When a rule names what is not there, rules contradict each other, a rule removes too much, or
            users fall into too many groups.
    """
    rules = active_rules(config, as_of)
    catalogue = RuleItems(items, config.brand_attribute)
    selected = [catalogue.select(rule) for rule in rules.rules]
    exclusions = tuple(
        Exclusion(rule.name, rule.segment, np.flatnonzero(chosen), rule.items.follows_data)
        for rule, chosen in zip(rules.rules, selected, strict=True)
        if isinstance(rule, ExcludeRule)
    )
    least_age = None
    if config.age_rating_attribute is not None:
        least_age = catalogue.least_ages(config.age_rating_attribute, config.age_ratings)
        _check_ratings(config, catalogue, least_age)
    tests = _user_tests(config, rules, exclusions, catalogue, least_age)
    tests.check_values(user_values)
    pins = _pins(rules, selected, catalogue)
    check_pins(pins, exclusions, tests, user_values, catalogue.item_ids)
    is_listed = _listed(exclusions, catalogue, config)
    has_markets = config.market_attribute is not None
    market_items = catalogue.markets if has_markets else None
    everywhere = catalogue.is_sold_everywhere if has_markets else None
    states = tests.occurring_states(user_values, config.max_groups)
    allowed, groups = _allowed(states, tests, exclusions, market_items, everywhere, least_age, is_listed, config)
    codes = tests.codes(states)
    order = np.argsort(codes)
    boosted, boosts = _boosts(rules, selected, len(catalogue))
    controls, control_boosts = _controls(catalogue, config, soft_controls, first=boosts.shape[1])
    return ItemRules(
        item_ids=catalogue.item_ids,
        is_available=catalogue.is_available,
        is_listed=is_listed,
        allowed=allowed,
        item_boosts=np.concatenate([boosts, control_boosts], axis=1),
        pins=pins,
        exclusions=exclusions,
        tests=tests,
        state_codes=codes[order],
        state_groups=groups[order],
        boosted=boosted,
        controls=controls,
        market_items=market_items,
        is_sold_everywhere=everywhere,
        least_age=least_age,
    )


def _user_tests(
    config: ShowingConfig,
    rules: RuleSet,
    exclusions: Sequence[Exclusion],
    catalogue: RuleItems,
    least_age: npt.NDArray[np.float64] | None,
) -> UserTests:
    markets = catalogue.markets.names.to_pylist() if config.market_attribute is not None else []
    limits = [] if least_age is None else np.unique(least_age[least_age > 0]).tolist()
    excluding = tuple(sorted({e.segment for e in exclusions if e.segment is not None}))
    if len(excluding) > MAX_EXCLUDING_SEGMENTS:
        raise ShowingError(
            f"rules: at most {MAX_EXCLUDING_SEGMENTS} segments may have exclusions at once, got {len(excluding)}."
        )
    if (
        config.default_market is not None
        and config.market_attribute is not None
        and config.default_market not in markets
    ):
        raise ShowingError(
            f"showing.default_market: a market of some item is needed, got {config.default_market!r}. The items name "
            f"{', '.join(markets[:10]) or 'none'}."
        )
    return UserTests(
        market_attribute=config.market_attribute,
        markets=tuple(markets),
        default_market=config.default_market,
        age_attribute=config.age_attribute if least_age is not None else None,
        age_limits=tuple(limit for limit in limits if np.isfinite(limit)),
        default_age=config.default_age,
        segments=dict(rules.segments),
        excluding=excluding,
    )


def _check_ratings(config: ShowingConfig, catalogue: RuleItems, least_age: npt.NDArray[np.float64]) -> None:
    unreadable = np.isinf(least_age) & catalogue.is_available
    check_removed_share(
        f"showing.age_rating_attribute: ratings `{config.age_rating_attribute}` that are neither numbers nor among "
        "showing.age_ratings",
        int(unreadable.sum()),
        int(catalogue.is_available.sum()),
        config.max_removed_share,
    )


def _listed(exclusions: Sequence[Exclusion], catalogue: RuleItems, config: ShowingConfig) -> Flags:
    """[I] available items that no rule keeps from everybody; every rule is held to its largest share."""
    num_available = int(catalogue.is_available.sum())
    is_listed = catalogue.is_available.copy()
    for exclusion in exclusions:
        num_removed = int(catalogue.is_available[exclusion.items].sum())
        check_removed_share(f"rule `{exclusion.rule}`", num_removed, num_available, config.max_removed_share)
        if exclusion.segment is None:
            is_listed[exclusion.items] = False
    together = [f"`{e.rule}`" for e in exclusions if e.segment is None]
    num_removed = num_available - int(is_listed.sum())
    check_removed_share(f"rules {', '.join(together)} together", num_removed, num_available, config.max_removed_share)
    return is_listed


def _allowed(
    states: npt.NDArray[np.int64],
    tests: UserTests,
    exclusions: Sequence[Exclusion],
    market_items: Labels | None,
    everywhere: Flags | None,
    least_age: npt.NDArray[np.float64] | None,
    is_listed: Flags,
    config: ShowingConfig,
) -> tuple[Flags | None, npt.NDArray[np.int32]]:
    """Rows of different catalogues, and the row of each state; -1 for states that may get all that is listed."""
    groups = np.full(len(states), NO_GROUP, dtype=np.int32)
    rows: list[Flags] = []
    known: dict[bytes, int] = {}
    if not tests.has_groups:
        return None, groups
    for number, state in enumerate(states.tolist()):
        row = allowed_items(state, tests, exclusions, market_items, everywhere, least_age, is_listed)
        if np.array_equal(row, is_listed):
            continue
        key = np.packbits(row).tobytes()
        if key not in known:
            if len(rows) == config.max_groups:
                raise tests.too_many_groups(len(states), config.max_groups)
            known[key] = len(rows)
            rows.append(row)
        groups[number] = known[key]
    return (np.stack(rows) if rows else None), groups


def _boosts(
    rules: RuleSet, selected: Sequence[Flags], num_items: int
) -> tuple[tuple[str | None, ...], npt.NDArray[np.float32]]:
    """One dimension for each segment that has boosts: the sum of what its rules add and take."""
    amounts: dict[str | None, npt.NDArray[np.float32]] = {}
    for rule, chosen in zip(rules.rules, selected, strict=True):
        if rule.kind in ("boost", "bury"):
            signed = rule.amount if rule.kind == "boost" else -rule.amount
            column = amounts.setdefault(rule.segment, np.zeros(num_items, dtype=np.float32))
            column += np.where(chosen, np.float32(signed), np.float32(0.0))
    columns = np.stack(list(amounts.values()), axis=1) if amounts else np.zeros((num_items, 0), np.float32)
    return tuple(amounts), columns


def _controls(
    catalogue: RuleItems, config: ShowingConfig, soft_controls: SoftTargets | None, first: int
) -> tuple[ControlIndex | None, npt.NDArray[np.float32]]:
    """The index of controls, and one dimension, from `first` on, for each category and brand that users weigh."""
    if soft_controls is None:
        return None, np.zeros((len(catalogue), 0), np.float32)
    labels = {"category": catalogue.categories, "brand": catalogue.brands}
    dimensions: dict[str, dict[str, int]] = {kind: {} for kind in labels}
    columns: list[npt.NDArray[np.float32]] = []
    for kind, label in labels.items():
        names = sorted(set(soft_controls.get(kind, ())))
        for name, code in zip(names, label.codes(pa.array(names, pa.string())).tolist(), strict=True):
            if code >= 0:
                dimensions[kind][name] = first + len(columns)
                columns.append(label.items[code].toarray()[0].astype(np.float32))
    if len(columns) > config.max_control_dimensions:
        raise ShowingError(
            f"controls: users boost and lessen {len(columns)} different categories and brands, and at most "
            f"{config.max_control_dimensions} (showing.max_control_dimensions) are allowed. Raise it: each lengthens "
            "the vectors of users and items by one dimension."
        )
    stacked = np.stack(columns, axis=1) if columns else np.zeros((len(catalogue), 0), np.float32)
    return ControlIndex(labels, dimensions, config.control_strength), stacked


def _pins(rules: RuleSet, selected: Sequence[Flags], catalogue: RuleItems) -> tuple[Pin, ...]:
    pins = []
    for rule, chosen in zip(rules.rules, selected, strict=True):
        if not isinstance(rule, PinRule):
            continue
        num_chosen = int(chosen.sum())
        if not 1 <= num_chosen <= MAX_PINS:
            raise ShowingError(
                f"rule `{rule.name}`: 1 to {MAX_PINS} items may be pinned by one rule, but it selects {num_chosen:,}. "
                "Name them by item_ids."
            )
        if rule.items.item_ids is not None:
            named = positions(pa.array(dict.fromkeys(rule.items.item_ids), pa.string()), catalogue.item_ids).tolist()
            places = [item for item in named if chosen[item]]
        else:
            places = np.flatnonzero(chosen).tolist()
            places.sort(key=lambda item: str(catalogue.item_ids[item].as_py()))
        pins += [Pin(rule.name, rule.segment, rule.position + n, item) for n, item in enumerate(places)]
    return tuple(pins)
