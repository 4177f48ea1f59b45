"""The packaged models of images do what they are for, on photos of the sample store; needs their weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder, make_extractor
from mmrec_lib.encoders.runtime.precision import same_class_share

pytestmark = pytest.mark.models

STORE = Path(__file__).parents[3] / "data" / "store"


def photos(category: str, count: int) -> list[bytes]:
    """The first photos of a category that are there and whole."""
    lines = (STORE / "items.jsonl").read_text(encoding="utf-8").splitlines()
    # Some records and media of the store are broken on purpose.
    named = [re.search(r'"image": "(images/[^"]+)"', line) for line in lines if f'["{category}"]' in line]
    paths = [STORE / match[1] for match in named if match]
    return [path.read_bytes() for path in paths if path.is_file() and path.stat().st_size > 1000][:count]


def test_photos_of_shoes_have_labels_of_shoes(real_models: ModelsConfig) -> None:
    extractor = make_extractor(real_models.encoder("efficientnet-lite0-labels", "labels"), real_models)
    extractor.load()
    found = extractor.extract(photos("Shoes", 4))
    kinds = ("shoe", "sneaker", "boot", "clog", "sandal", "loafer", "moccasin")
    named = [words for words in found if any(kind in (words.text or "") for kind in kinds)]
    assert len(found) == 4 and len(named) >= 3, [words.text for words in found]
    assert {words.language for words in found} == {"en"}


@pytest.mark.slow
def test_words_find_photos_of_what_they_name(real_models: ModelsConfig) -> None:
    encoder = make_encoder(real_models.encoder("conse-imagenet", "joint"), real_models)
    encoder.load()
    classes = {"shoes": "Shoes", "trousers": "Trousers", "t-shirt": "T-shirts"}
    images = [photos(category, 4) for category in classes.values()]
    assert [len(of_class) for of_class in images] == [4, 4, 4]
    scores = (
        encoder.encode(list(classes)).vectors
        @ encoder.encode([photo for of_class in images for photo in of_class]).vectors.T
    )
    own = np.repeat(np.eye(3), 4, axis=1)
    found = [int(is_own[np.argsort(-row)[:4]].sum()) for row, is_own in zip(scores, own, strict=True)]
    # By chance there would be 4.
    assert sum(found) >= 8, found


@pytest.mark.slow
def test_the_nearest_photo_is_of_the_same_class(real_models: ModelsConfig) -> None:
    categories: dict[str, str] = {}
    for line in (STORE / "items.jsonl").read_text(encoding="utf-8").splitlines():
        # As above: some records are broken on purpose.
        found = re.search(r'"item_id": "(p\d{3})".*"categories": \["([^"]+)"', line)
        if found is not None and (STORE / "images" / f"{found[1]}.jpg").is_file():
            categories[found[1]] = found[2]
    assert len(categories) > 350 and len(set(categories.values())) == 10
    encoder = make_encoder(real_models.encoder("efficientnet-lite0", "image"), real_models)
    encoder.load()
    result = encoder.encode([(STORE / "images" / f"{name}.jpg").read_bytes() for name in categories])
    assert set(result.errors) == {None}
    # .737 of these small copies, .745 of the originals; by chance .1.
    assert same_class_share(result.vectors, list(categories.values())) >= 0.72
