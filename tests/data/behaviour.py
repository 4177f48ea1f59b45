"""What simulated users do: visits drawn from taste, popularity and season, each with a funnel of events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tests.data.catalogue import Product, pick
from tests.data.people import Person
from tests.data.words import CLASSES, COLOUR_WORDS, STYLES

START = datetime(2025, 7, 1, tzinfo=UTC)
NUM_DAYS = 92.0
Event = dict[str, Any]

# Interest in a class by month (July, August, September).
SEASON = {
    "shorts": (1.5, 1.1, 0.5), "hat": (1.1, 1.0, 1.0), "t": (1.3, 1.1, 0.8), "dress": (1.2, 1.1, 0.8),
    "skirt": (1.1, 1.1, 0.9), "outwear": (0.6, 0.9, 1.6), "longsleeve": (0.7, 0.9, 1.5), "pants": (0.9, 1.0, 1.2),
}  # fmt: skip


def iso(day: float) -> str:
    """Days after the start as an ISO 8601 time in UTC, to the second."""
    return (START + timedelta(seconds=int(day * 86400))).strftime("%Y-%m-%dT%H:%M:%SZ")


def session_days(rng: np.random.Generator, first: float, num_sessions: int) -> np.ndarray:
    """Start times of sessions in days, sorted; mostly in the evening."""
    days = np.floor(rng.uniform(max(first, 0.0), NUM_DAYS - 0.01, num_sessions))
    evenings, daytimes = rng.normal(19.5, 1.8, num_sessions), rng.uniform(7, 23, num_sessions)
    hours = np.where(rng.random(num_sessions) < 0.65, evenings, daytimes)
    return np.sort(np.maximum(days + np.clip(hours, 0.5, 23.3) / 24, max(first, 0.0)))


def words_of_search(rng: np.random.Generator, product: Product) -> str:
    """What somebody types who has such a product in mind."""
    noun = pick(rng, CLASSES[product.kind].nouns)
    colour = pick(rng, COLOUR_WORDS[product.colour])
    style = pick(rng, STYLES[product.style].queries)
    material = pick(rng, CLASSES[product.kind].materials)
    return pick(rng, (noun, f"{colour} {noun}", f"{style} {noun}", f"{style} {colour} {noun}", f"{material} {noun}"))


def rating_for(rng: np.random.Generator, match: float, quality: float) -> int:
    """Stars from 1 to 5: taste match in [0, 1] and quality about N(0, 1) decide, with noise."""
    return int(np.clip(np.rint(2.3 + 2.3 * match + 0.55 * quality + rng.normal(0, 0.7)), 1, 5))


def visit_events(rng: np.random.Generator, user: str, product: Product, match: float, day: float) -> list[Event]:
    """The events of one look at a product: a view, then perhaps more, further down the funnel each rarer."""
    item = product.item_id
    minute = 1 / 1440

    def event(kind: str, at: float, **fields: Any) -> Event:
        return {"user_id": user, "item_id": item, "event_type": kind, **fields, "day": at}

    seconds = round(float(rng.lognormal(2.6 + 0.9 * match, 0.6)), 1)
    events = [event("view", day, seconds=seconds)]
    if rng.random() < 0.03 + 0.15 * match:
        events.append(event("like", day + minute * rng.uniform(0.3, 1)))
    if rng.random() < 0.01 + 0.05 * match:
        events.append(event("share", day + minute * rng.uniform(0.5, 2)))
    if rng.random() < 0.1 + 0.12 * match:
        again = day + float(rng.exponential(1.5)) + 0.01
        events.append(event("view", again, seconds=round(float(rng.lognormal(2.4, 0.6)), 1)))
    if rng.random() < 0.02 + 0.22 * match:
        carted = day + minute * rng.uniform(1, 3)
        events.append(event("cart", carted))
        if rng.random() < 0.5 + 0.1 * product.quality / 2:
            bought = carted + (minute * rng.uniform(1, 8) if rng.random() < 0.7 else rng.uniform(0.1, 2))
            events.append(event("purchase", bought))
            if rng.random() < 0.6:
                stars = rating_for(rng, match, product.quality)
                events.append(event("rating", bought + float(rng.uniform(2, 12)), value=stars))
    return [one for one in events if one["day"] < NUM_DAYS - 1e-4]


def simulate(
    rng: np.random.Generator, people: list[Person], products: list[Product], liking: np.ndarray
) -> list[list[Event]]:
    """Visits of all users, each a list of events with `day` (time in days) and `channel`.

    Args:
        rng: Source of randomness.
        people: The users; `visits` says about how many products each looks at.
        products: The products; `sold_from` and `sold_until` bound when they are looked at.
        liking: Taste, [num_users, num_products], positive.
    """
    popularity = np.array([product.popularity for product in products])
    trend = rng.normal(0, 0.4, len(products))
    sold_from = np.array([product.sold_from for product in products])
    sold_until = np.array([product.sold_until for product in products])
    season = np.array([SEASON.get(product.kind, (1.0, 1.0, 1.0)) for product in products]).T
    visits: list[list[Event]] = []
    for person, likes in zip(people, liking, strict=True):
        match = np.argsort(np.argsort(likes)) / (len(products) - 1)
        first = person.joined + float(rng.uniform(0, 4)) if person.joined >= 0 else 0.0
        span = (NUM_DAYS - max(first, 0.0)) / NUM_DAYS
        # Newcomers look around: more a day than the others.
        num_visits = max(1, int(rng.poisson(person.visits * max(span, 0.45 if first else 1.0))))
        seen = np.ones(len(products))
        days = session_days(rng, first, max(1, round(num_visits / 2.2)))
        for number in range(num_visits):
            day = float(days[number % len(days)]) + 0.004 * (number // len(days)) + float(rng.uniform(0, 0.003))
            month = min(2, int(day // 31))
            weight = (
                likes * popularity * seen * season[month] * np.exp(trend * (day / NUM_DAYS - 0.5))
                * (sold_from <= day) * (day < sold_until)
            )  # fmt: skip
            fresh = (sold_from > 0) & (day - sold_from < 14)
            weight = np.where(fresh, weight * 1.6, weight)
            chosen = int(rng.choice(len(products), p=weight / weight.sum()))
            seen[chosen] = 0.05
            product = products[chosen]
            channel = "app" if rng.random() < 0.5 else "web"
            events = [
                one
                for one in visit_events(rng, person.user_id, product, float(match[chosen]), day)
                if one["day"] < product.sold_until
            ]
            if rng.random() < 0.13:
                query = words_of_search(rng, product)
                search = {"user_id": person.user_id, "event_type": "search", "query": query, "day": day - 0.0005}
                events.insert(0, search)
            visits.append([{**one, "channel": channel} for one in events])
    return visits


def exactly(rng: np.random.Generator, visits: list[list[Event]], num_events: int) -> list[Event]:
    """`num_events` events, by leaving out whole visits at random (and the tail of one), sorted by time.

    Raises:
        ValueError: When there are too few.
    """
    total = sum(len(visit) for visit in visits)
    if total < num_events:
        raise ValueError(f"the simulation needs at least {num_events} events, got {total}; raise the users' visits")
    visits = [visits[i] for i in rng.permutation(len(visits))]
    while total > num_events:
        visit = visits.pop()
        total -= len(visit)
        if total < num_events:
            visits.append(visit[: num_events - total])
            total = num_events
    return sorted((event for visit in visits for event in visit), key=lambda event: event["day"])
