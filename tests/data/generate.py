"""Makes the sample store: a landing folder with real photos and simulated everything else.

Run `python -m tests.data.generate --photos <folder of photos> --out tests/data/store`; with `--speech` the spoken
reviews are made again as well, which needs espeak-ng. The same seed gives the same store.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data import arrivals
from tests.data.behaviour import NUM_DAYS, Event, exactly, iso, simulate
from tests.data.catalogue import (
    MARKETS,
    Product,
    hue_shifted,
    jpeg_bytes,
    make_products,
    png_bytes,
    second_views,
    shrink,
)
from tests.data.deliveries import STORED, MediaReference, Record, expected_counts, write_json
from tests.data.label_files import expect_labels, write_label_files
from tests.data.media_faults import MEDIA_FAULTS
from tests.data.opinions import make_reviews, make_spoken, speak
from tests.data.people import Person, affinity_matrix, make_friends, make_people

NUM_USERS, NUM_EVENTS, NUM_REVIEWS, NUM_EDGES, NUM_FAULTS = 1_000, 30_000, 1_500, 400, 300
NUM_NEW_PRODUCTS, NUM_NEW_USERS = 20, 50
NUM_UNDECLARED, NUM_SILENT = 10, 15
NUM_SOLD_OUT, NUM_REPRICED, NUM_LATE_VERSIONS, NUM_DELETED = 8, 12, 6, 8
NEWCOMERS_FROM = NUM_DAYS - 14


@dataclass
class World:
    """Everything that is planted.

    Attributes:
        products: The 400 products.
        images: Their image, by item_id.
        people: The 1,000 users; the last `NUM_SILENT` never do anything.
        liking: Taste of all users for all products, [num_users, num_products].
        events: 30,000 events, sorted by `day`.
        reviews: Written reviews.
        spoken: Spoken reviews with their words.
        friends: Friendships.
    """

    products: list[Product]
    images: dict[str, Image.Image]
    people: list[Person]
    liking: np.ndarray
    events: list[Event]
    reviews: list[Record]
    spoken: list[tuple[Record, str]]
    friends: list[tuple[str, str]]


def read_photos(folder: Path) -> dict[str, list[Image.Image]]:
    """Shrunken photos by class, the first part of the file name.

    Raises:
        SystemExit: When the folder holds no JPEG.
    """
    photos: dict[str, list[Image.Image]] = {}
    for path in sorted(folder.glob("*.jpg")):
        photos.setdefault(path.name.split("-")[0], []).append(shrink(path))
    if not photos:
        raise SystemExit(f"--photos needs a folder of photos named <class>-<anything>.jpg; found none in {folder}")
    return photos


def make_world(rng: np.random.Generator, photos: dict[str, list[Image.Image]]) -> World:
    """Products, people, and what they do and say."""
    drawn = make_products(rng, photos)
    products = [product for product, _ in drawn]
    for product in products[-NUM_NEW_PRODUCTS:]:
        product.sold_from = NEWCOMERS_FROM + float(rng.uniform(0, 6))
        product.record["updated_at"] = iso(product.sold_from - 0.3)
    for product in rng.choice(np.array(products[:-NUM_NEW_PRODUCTS]), NUM_SOLD_OUT, replace=False):
        product.sold_until = float(rng.uniform(40, 80))
    people = make_people(rng, NUM_USERS, [product.colour for product in products])
    newcomers = people[-NUM_SILENT - NUM_NEW_USERS : -NUM_SILENT]
    for person in newcomers:
        person.joined = NEWCOMERS_FROM + float(rng.uniform(0, 8))
    for person in people[100 : 100 + NUM_UNDECLARED]:
        person.declared = False
    liking = affinity_matrix(people, products)
    for column, product in enumerate(products):
        if rng.random() < 0.1:
            sold_in = sorted(str(m) for m in rng.choice(MARKETS, size=int(rng.integers(3, 7)), replace=False))
            product.record["markets"] = sold_in
            liking[[person.country not in sold_in for person in people], column] *= 1e-6
    active = people[:-NUM_SILENT]
    visits = simulate(rng, active, products, liking[:-NUM_SILENT])
    events = exactly(rng, visits, NUM_EVENTS)
    shared = [product for product in products if "markets" not in product.record and product.sold_from < 0]
    return World(
        products=products,
        images={product.item_id: image for product, image in drawn},
        people=people,
        liking=liking,
        events=events,
        reviews=make_reviews(rng, active, products, liking, events, num_reviews=NUM_REVIEWS),
        spoken=make_spoken(rng, active[:-NUM_NEW_USERS], shared),
        friends=make_friends(rng, people, liking, NUM_EDGES),
    )


def write_images(rng: np.random.Generator, world: World, folder: Path) -> tuple[list[MediaReference], list[str]]:
    """Writes an image a product and further views of some; adds the references to the products' records.

    Returns:
        All references, and the ids of the products that have one image only.
    """
    references: list[MediaReference] = []
    single: list[str] = []
    roles = rng.permutation(len(world.products))
    for role, product in zip(roles, world.products, strict=True):
        item = product.item_id
        content = {f"images/{item}.jpg": jpeg_bytes(world.images[item])}
        close_up, mirrored = second_views(world.images[item])
        if role < 48:
            content[f"images/{item}-2.jpg"] = jpeg_bytes(close_up)
        if role < 10:
            content[f"images/{item}-3.jpg"] = jpeg_bytes(mirrored)
        if role == 48:
            # Its name says JPEG, its bytes say PNG: a good image all the same.
            content[f"images/{item}-2.jpg"] = png_bytes(close_up.resize((96, 128)))
        if role in (49, 50):
            # Uploaded twice: two references, one asset.
            content[f"images/{item}-2.jpg"] = content[f"images/{item}.jpg"]
        for path, image in content.items():
            (folder / path).write_bytes(image)
            asset = f"images/{item}.jpg" if role in (49, 50) else path
            references.append(MediaReference(path, STORED, asset))
        product.record["images"] = list(content)
        if len(content) == 1:
            single.append(item)
    # A lone image may come as a plain path, too.
    for number, product in enumerate(world.products):
        if product.item_id in single and number % 5 == 0:
            product.record["image"] = product.record.pop("images")[0]
    return references, single


def plant_media_faults(world: World, single: list[str], folder: Path) -> list[MediaReference]:
    """Gives some products a broken further image, and some written reviews a broken sound; the records stay good."""
    by_id = {product.item_id: product for product in world.products}
    owners = iter(item for item in single if "images" in by_id[item].record and by_id[item].sold_from < 0)
    reviews = iter(world.reviews[200:])
    references = []
    for fault in MEDIA_FAULTS:
        if fault.owner == "item":
            item = next(owners)
            path = fault.path.format(n=item)
            by_id[item].record["images"].append(path)
            jpeg = (folder / f"images/{item}.jpg").read_bytes()
        else:
            review = next(reviews)
            path, jpeg = fault.path.format(n=review["review_id"]), b""
            review["audio"] = path
        if fault.make is not None:
            (folder / path).write_bytes(fault.make(jpeg))
        references.append(MediaReference(path, fault.reason))
    return references


def deleted_products(rng: np.random.Generator, world: World, folder: Path) -> list[Record]:
    """Records of products that are delivered and later deleted, with derived images."""
    records = []
    for number in range(NUM_DELETED):
        model = world.products[int(rng.integers(len(world.products)))]
        item = f"p{len(world.products) + 1 + number:03d}"
        image = hue_shifted(world.images[model.item_id], 90 + 20 * number)
        (folder / f"images/{item}.jpg").write_bytes(jpeg_bytes(image, quality=60))
        fields: dict[str, Any] = {"item_id": item, "images": [f"images/{item}.jpg"], "price": model.record["price"] + 5}
        records.append({**model.record, **fields, "updated_at": "2025-06-20T08:00:00Z"})
        records[-1].pop("image", None)
    return records


def write_speech(world: World, folder: Path, spoken_json: Path, make: bool) -> list[MediaReference]:
    """Writes the spoken reviews (when asked to make them) and what is said in them.

    Raises:
        SystemExit: When the sounds are not there and were not to be made.
    """
    references = []
    for number, (record, words) in enumerate(world.spoken):
        path = folder / record["audio"]
        if make:
            path.write_bytes(speak(words, number))
        elif not path.exists():
            raise SystemExit(
                f"the spoken review {record['audio']} is missing: run again with --speech (needs espeak-ng)"
            )
        references.append(MediaReference(record["audio"], STORED, record["audio"]))
    write_json(spoken_json, {record["review_id"]: words for record, words in world.spoken})
    return references


def planted_attributes(world: World) -> Record:
    """What is planted: of items their latent attributes, of users their tastes."""
    items = {p.item_id: {"class": p.kind, "style": p.style, "colour": p.colour, "tier": p.tier} for p in world.products}
    users = {}
    for person in world.people:
        kinds = sorted(person.class_taste, key=lambda name: -person.class_taste[name])[:3]
        styles = sorted(person.style_taste, key=lambda name: -person.style_taste[name])[:2]
        tier = round(person.tier, 2)
        users[person.user_id] = {"classes": kinds, "styles": styles, "colours": person.colours, "tier": tier}
    return {"items": items, "users": users}


def clear(folder: Path) -> None:
    """Empties the store but for its sounds, which cost espeak-ng to make."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.name == "audio":
            for sound in path.iterdir():
                if not sound.name.startswith("rv") or len(sound.stem) != 6:
                    sound.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def generate(photos: Path, out: Path, *, speech: bool, seed: int) -> Record:
    """Writes the store to `out`, and beside it what is expected of it, what is planted and what is spoken.

    Args:
        photos: Folder of photos named `<class>-<anything>.jpg`.
        out: The landing folder to write.
        speech: Make the spoken reviews again with espeak-ng.
        seed: Seed of all randomness.

    Returns:
        The expected counts.
    """
    rng = np.random.default_rng(seed)
    world = make_world(rng, read_photos(photos))
    clear(out)
    for name in ("images", "audio"):
        (out / name).mkdir(parents=True, exist_ok=True)
    media, single = write_images(rng, world, out)
    media += write_speech(world, out, out.parent / "spoken_reviews.json", speech)
    media += plant_media_faults(world, single, out)
    deleted = deleted_products(rng, world, out)
    deliveries = [
        *arrivals.event_files(rng, world.events),
        *arrivals.review_files(rng, world.reviews, [record for record, _ in world.spoken]),
        *arrivals.item_files(
            rng, world.products, deleted, num_repriced=NUM_REPRICED, num_late_versions=NUM_LATE_VERSIONS
        ),
        *arrivals.user_files(rng, world.people, NEWCOMERS_FROM),
        arrivals.edge_file(rng, world.friends),
        arrivals.graph_file(world.products),
        arrivals.transcript_file(world.spoken),
    ]
    for delivery in deliveries:
        delivery.write(out)
    expected = expected_counts(
        deliveries,
        media,
        num_broken_files=arrivals.write_broken_files(out),
        tables={"item": len(world.products), "user": len(world.people), "provided_vector": 0, "tombstone": NUM_DELETED},
    )
    if expected["tables"]["quarantine"] != NUM_FAULTS:
        raise SystemExit(f"the store must hold {NUM_FAULTS} broken records, planted {expected['tables']['quarantine']}")
    planted = planted_attributes(world)
    expect_labels(expected, sum(write_label_files(out, planted).values()))
    write_json(out.parent / "expected.json", expected)
    write_json(out.parent / "planted.json", planted)
    return expected


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos named <class>-<anything>.jpg")
    parser.add_argument("--out", type=Path, required=True, help="landing folder to write")
    parser.add_argument("--speech", action="store_true", help="make the spoken reviews again (needs espeak-ng)")
    parser.add_argument("--seed", type=int, default=20250701)
    arguments = parser.parse_args()
    expected = generate(arguments.photos, arguments.out, speech=arguments.speech, seed=arguments.seed)
    print(expected["tables"])


if __name__ == "__main__":
    main()
