"""Simulated users of the sample store: planted tastes, attributes that go weakly with them, and friendships."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tests.data.catalogue import Product
from tests.data.words import CLASSES, STYLES

COUNTRIES = {"GB": 0.34, "US": 0.25, "IE": 0.09, "DE": 0.11, "FR": 0.08, "ES": 0.07, "IT": 0.06}
LANGUAGE_OF = {"GB": "en", "US": "en", "IE": "en", "DE": "de", "FR": "fr", "ES": "es", "IT": "it"}
FAVOURITE_CLASS_SHARES = (0.50, 0.30, 0.12)
FAVOURITE_STYLE_SHARES = (0.72, 0.18)
COLOUR_BOOST = 1.9

# How much more often than average a gender has a class among its favourites, and an age group a style.
CLASS_LEAN = {
    "f": {"dress": 3.0, "skirt": 3.0, "shoes": 1.4},
    "m": {"dress": 0.1, "skirt": 0.1, "shirt": 2.0, "outwear": 1.6, "pants": 1.5, "t": 1.5, "shorts": 1.4},
    "x": {"t": 1.5, "hat": 1.5, "outwear": 1.3},
}
STYLE_LEAN = {
    "young": {"streetwear": 3.0, "sporty": 1.8, "romantic": 1.3, "elegant": 0.5},
    "middle": {"casual": 1.8, "sporty": 1.3},
    "older": {"elegant": 3.0, "vintage": 2.0, "casual": 1.5, "streetwear": 0.2},
}


@dataclass
class Person:
    """A simulated user.

    Attributes:
        user_id: Their id.
        age: In years.
        gender: f, m or x.
        country: ISO code.
        class_taste: Probability of being drawn to each class.
        style_taste: Probability of being drawn to each style.
        colours: Liked colours.
        tier: Preferred price tier, 1.0 to 3.0.
        visits: About how many products they look at in three months.
        joined: First day with events, in days after the start of the data.
        declared: False when they are in no users file and known from events only.
    """

    user_id: str
    age: int
    gender: str
    country: str
    class_taste: dict[str, float]
    style_taste: dict[str, float]
    colours: list[str]
    tier: float
    visits: float
    joined: float = -1.0
    declared: bool = True
    attributes: dict[str, str] = field(default_factory=dict)


def age_group(age: int) -> str:
    """The group of an age: young (under 30), middle (under 50) or older."""
    return "young" if age < 30 else "middle" if age < 50 else "older"


def taste_for(
    rng: np.random.Generator, names: list[str], lean: dict[str, float], shares: tuple[float, ...]
) -> dict[str, float]:
    """A taste with a few favourites, drawn by lean; what the favourites leave is spread over the others."""
    weights = np.array([lean.get(name, 1.0) for name in names])
    favourites = rng.choice(len(names), size=len(shares), replace=False, p=weights / weights.sum())
    rest = (1 - sum(shares)) / (len(names) - len(shares))
    taste = dict.fromkeys(names, rest)
    taste.update({names[int(i)]: share for i, share in zip(favourites, shares, strict=True)})
    return taste


def make_people(rng: np.random.Generator, num_users: int, colours: list[str]) -> list[Person]:
    """Users u0001, u0002, … with tastes and attributes.

    Args:
        rng: Source of randomness.
        num_users: How many.
        colours: Colours of the products, repeated as often as they occur, so that common ones are liked more often.
    """
    people = []
    for number in range(1, num_users + 1):
        gender = str(rng.choice(["f", "m", "x"], p=[0.54, 0.43, 0.03]))
        age = int(np.clip(rng.gamma(5.0, 5.0) + 16, 16, 79))
        liked: list[str] = []
        while len(liked) < 3:
            colour = colours[int(rng.integers(len(colours)))]
            if colour not in liked:
                liked.append(colour)
        people.append(
            Person(
                user_id=f"u{number:04d}",
                age=age,
                gender=gender,
                country=str(rng.choice(list(COUNTRIES), p=list(COUNTRIES.values()))),
                class_taste=taste_for(rng, list(CLASSES), CLASS_LEAN[gender], FAVOURITE_CLASS_SHARES),
                style_taste=taste_for(rng, list(STYLES), STYLE_LEAN[age_group(age)], FAVOURITE_STYLE_SHARES),
                colours=liked,
                tier=float(np.clip(rng.normal(1.6 + 0.012 * (age - 20), 0.55), 1, 3)),
                visits=float(np.clip(rng.lognormal(2.7, 0.5), 5, 70)),
            )
        )
    return people


def affinity_matrix(people: list[Person], products: list[Product]) -> np.ndarray:
    """How much each user likes each product before popularity, [num_users, num_products], positive."""
    liking = np.ones((len(people), len(products)))
    for row, person in enumerate(people):
        for column, product in enumerate(products):
            liking[row, column] = (
                person.class_taste[product.kind]
                * person.style_taste[product.style]
                * (COLOUR_BOOST if product.colour in person.colours else 1.0)
                * np.exp(-0.45 * (person.tier - product.tier) ** 2)
            )
    return liking


def make_friends(
    rng: np.random.Generator, people: list[Person], liking: np.ndarray, num_edges: int
) -> list[tuple[str, str]]:
    """Distinct directed friendships; of a random circle, the person with the most similar taste is chosen."""
    unit = np.sqrt(liking)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    edges: dict[tuple[str, str], None] = {}
    while len(edges) < num_edges:
        one = int(rng.integers(len(people)))
        circle = [int(i) for i in rng.choice(len(people), size=40, replace=False) if int(i) != one]
        other = max(circle, key=lambda i: float(unit[one] @ unit[i]))
        edges[people[one].user_id, people[other].user_id] = None
        if rng.random() < 0.4 and len(edges) < num_edges:
            edges[people[other].user_id, people[one].user_id] = None
    return list(edges)
