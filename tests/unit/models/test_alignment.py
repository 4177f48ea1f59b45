"""A joint space finds what modalities share, never looks at what it may not, and tells what contradicts itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmrec_lib.models.alignment.aligner import Aligner
from mmrec_lib.models.alignment.attention import CrossAttention
from mmrec_lib.models.alignment.co_consumption import co_consumption
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.findings import Finding, duplicate_findings, modality_findings, price_findings
from mmrec_lib.models.alignment.fit import Alignment, align
from mmrec_lib.models.alignment.space import NUM_FOLDS, folds_of
from mmrec_lib.models.data import Content, FitData, Interactions
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.sources.content import ContentFeatures
from tests.unit.models.checkerboard import SETTINGS

NUM_ITEMS, NUM_USERS, SHARED = 600, 200, 12
METHODS = ("pca", "cca", "cooccurrence", "infonce", "attention")
BEHAVIOURAL = ("cooccurrence", "infonce", "attention")


def config(method: str = "cca", **changes: Any) -> AlignmentConfig:
    small = {"dim": 16, "max_modality_dims": 24, "max_epochs": 4, "batch_size": 64}
    return AlignmentConfig.model_validate({"method": method, **small, **changes})


def catalogue(seed: int = 0, wrong: tuple[int, ...] = ()) -> FitData:
    """Texts and images that share twelve weak factors under loud ones of their own, and users who like some of these.

    Args:
        seed: Seed of all of it.
        wrong: Items that have the image of another one.
    """
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((NUM_ITEMS, SHARED))
    found = {}
    for name, dim in (("text:title", 30), ("image:images", 40)):
        own = rng.standard_normal((NUM_ITEMS, 8)) @ rng.standard_normal((8, dim)) * 2.5
        vectors = shared @ rng.standard_normal((SHARED, dim)) + own + 0.2 * rng.standard_normal((NUM_ITEMS, dim)) + 3
        if name == "image:images":
            vectors[list(wrong)] = vectors[list(wrong[1:] + wrong[:1])]
        found[name] = Content.from_vectors(name, vectors)
    taste = rng.standard_normal((NUM_USERS, SHARED)) @ shared.T
    chosen = np.argsort(-taste, axis=1)[:, :25]
    users = np.repeat(np.arange(NUM_USERS), 25)
    interactions = Interactions.from_rows(users, chosen.ravel(), (NUM_USERS, NUM_ITEMS))
    return FitData(np.array([f"i{place:03d}" for place in range(NUM_ITEMS)]), interactions, found)


@pytest.fixture(scope="module")
def planted() -> FitData:
    return catalogue()


@pytest.fixture(scope="module")
def learned(planted: FitData) -> dict[str, Alignment]:
    return {method: align(planted, config(method)) for method in METHODS}


def recall(alignment: Alignment, k: int = 10) -> float:
    (found,) = (one.value for one in alignment.retrieval if (one.source, one.target, one.k) == ("text", "image", k))
    return found


# what is found


def test_what_modalities_share_is_found_by_cca_and_infonce_and_not_by_pca(learned: dict[str, Alignment]) -> None:
    assert recall(learned["pca"]) < 0.4
    assert recall(learned["cca"]) > 0.9
    assert recall(learned["infonce"]) > 0.9


def test_retrieval_is_measured_both_ways_beside_chance(learned: dict[str, Alignment]) -> None:
    found = learned["cca"].retrieval
    assert {(one.source, one.target, one.k) for one in found} == {
        (*pair, k) for pair in (("text", "image"), ("image", "text")) for k in (1, 5, 10)
    }
    assert all(one.num_items == NUM_ITEMS for one in found)
    assert found[0].chance == pytest.approx(NUM_FOLDS / NUM_ITEMS, rel=0.1)


def test_images_that_were_shuffled_are_retrieved_by_chance(planted: FitData) -> None:
    """What a space was learned from is not what it is measured on: else chance would look like skill."""
    images = planted.contents["image:images"]
    shuffled = images.rows(np.random.default_rng(1).permutation(NUM_ITEMS))
    found = align(replace(planted, contents={**planted.contents, "image:images": shuffled}), config("infonce"))
    assert recall(found) < 0.1


@pytest.mark.parametrize("method", BEHAVIOURAL)
def test_items_that_the_same_users_turn_to_come_near(
    learned: dict[str, Alignment], planted: FitData, method: str
) -> None:
    related = co_consumption(planted.interactions.weights, config()).toarray() > 0

    def lift(alignment: Alignment) -> float:
        assert alignment.aligner is not None
        rows = np.asarray(alignment.aligner.block(planted.contents, NUM_ITEMS, planted.item_ids).matrix)
        cosines = rows @ rows.T
        return float(cosines[related].mean() - cosines[~related].mean())

    assert lift(learned[method]) > lift(learned["pca"]) + 0.1


def disagreeing(num_items: int = 1_500) -> tuple[FitData, np.ndarray]:
    """Items half of which have an image of nothing, and the items that are really like each."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((num_items, SHARED))
    text = shared @ rng.standard_normal((SHARED, 30)) + 0.3 * rng.standard_normal((num_items, 30))
    image = shared @ rng.standard_normal((SHARED, 40))
    nothing = rng.standard_normal((num_items, SHARED)) @ rng.standard_normal((SHARED, 40))
    image = np.where(rng.random((num_items, 1)) < 0.5, nothing, image)
    taste = rng.standard_normal((500, SHARED)) @ shared.T
    chosen = np.argsort(-taste, axis=1)[:, :25]
    interactions = Interactions.from_rows(np.repeat(np.arange(500), 25), chosen.ravel(), (500, num_items))
    contents = {
        name: Content.from_vectors(name, rows) for name, rows in (("text:title", text), ("image:images", image))
    }
    ids = np.array([f"i{place:04d}" for place in range(num_items)])
    return FitData(ids, interactions, contents), _nearest(shared / np.linalg.norm(shared, axis=1, keepdims=True))


def _nearest(rows: np.ndarray) -> np.ndarray:
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1)[:, :10]


@pytest.mark.slow
def test_attention_hears_which_modality_is_right_where_a_mean_cannot() -> None:
    data, alike = disagreeing()
    found = {}
    for method in ("infonce", "attention"):
        aligner = align(data, config(method, max_epochs=30, patience=8)).aligner
        assert aligner is not None
        near = _nearest(np.asarray(aligner.block(data.contents, len(alike), data.item_ids).matrix))
        found[method] = np.mean([len({*own} & {*true}) / 10 for own, true in zip(near, alike, strict=True)])
    assert found["attention"] > found["infonce"] + 0.05, found


def test_attention_in_numpy_is_the_attention_that_was_trained(planted: FitData) -> None:
    torch = pytest.importorskip("torch")
    from mmrec_lib.models.alignment.train_attention import _joint

    rng = np.random.default_rng(3)
    shapes = {"kinds": (3, 8), "queries": (8, 2, 4), "keys": (8, 2, 4), "values": (8, 2, 4), "output": (2, 4, 8)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    rows = rng.standard_normal((5, 3, 8)).astype(np.float32)
    rows[0, 1], rows[1, :2], rows[2] = 0, 0, 0
    vectors = {name: rows[:, place] for place, name in enumerate("abc")}
    own = CrossAttention(**arrays).joint(vectors, tuple("abc"), {})
    trained = _joint(torch.from_numpy(rows), {name: torch.from_numpy(array) for name, array in arrays.items()})
    np.testing.assert_allclose(own, trained.numpy(), atol=1e-5)
    assert not own[2].any()
    missing = CrossAttention(**arrays).joint({"c": vectors["c"]}, tuple("abc"), {})
    np.testing.assert_allclose(missing[1], own[1], atol=1e-6, err_msg="a missing modality is no vector of zeros")
    muted = CrossAttention(**arrays).joint(vectors, tuple("abc"), {"a": np.zeros(5, np.float32)})
    assert np.abs(muted[3] - own[3]).max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_a_rare_modality_leaves_the_others_their_space(planted: FitData, method: str) -> None:
    rng = np.random.default_rng(2)
    some = rng.random(NUM_ITEMS) < 0.02
    video = Content.from_vectors("video:video", rng.standard_normal((NUM_ITEMS, 6)), some)
    contents = {**planted.contents, "video:video": video}
    aligner = align(replace(planted, contents=contents), config(method, max_epochs=1)).aligner
    assert aligner is not None and aligner.dim == 16
    assert set(aligner.modalities) == {"text", "image", "video"}


def test_attention_does_without_a_modality_that_one_fold_alone_has(planted: FitData) -> None:
    """The space of that fold is learned from the others, and does not know the modality."""
    few = np.flatnonzero(folds_of(planted.item_ids, NUM_FOLDS) == 0)[:5]
    video = np.zeros((NUM_ITEMS, 6), dtype=np.float32)
    video[few] = np.random.default_rng(2).standard_normal((5, 6))
    contents = {**planted.contents, "video:video": Content.from_vectors("video:video", video)}
    aligner = align(replace(planted, contents=contents), config("attention", max_epochs=1)).aligner
    assert aligner is not None
    assert aligner.block(contents, NUM_ITEMS, planted.item_ids).has.all()


def test_attention_that_learned_nothing_is_the_mean() -> None:
    shapes = {"kinds": (2, 4), "queries": (4, 1, 4), "keys": (4, 1, 4), "values": (4, 1, 4), "output": (1, 4, 4)}
    nothing = CrossAttention(**{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    rows = np.eye(4, dtype=np.float32)
    joint = nothing.joint({"a": rows, "b": rows[::-1]}, ("a", "b"), {})
    np.testing.assert_allclose(joint, (rows + rows[::-1]) / np.sqrt(2), atol=1e-6)


# what is seen and what is not


@pytest.mark.parametrize("method", BEHAVIOURAL)
def test_what_users_did_with_an_item_is_not_in_its_own_vector(planted: FitData, method: str) -> None:
    """Else validation on items that are only simulated as new would see their future."""
    folds, all_pairs = folds_of(planted.item_ids, NUM_FOLDS), config(method, num_neighbours=NUM_ITEMS)
    # Of the first fold, whose space is not turned.
    item, fold = int(np.where(folds == 0, planted.interactions.item_counts(), -1).argmax()), 0
    others = planted.with_interactions(planted.interactions.without_items(np.arange(NUM_ITEMS) == item))
    some = {name: content.rows(np.arange(40)) for name, content in planted.contents.items()}
    aligners = [align(data, all_pairs).aligner for data in (others, planted)]
    without, with_it = (one.spaces[fold].vectors(some)["text"] for one in aligners if one is not None)
    # Spaces are turned, which changes no cosine.
    np.testing.assert_allclose(without @ without.T, with_it @ with_it.T, atol=1e-4)
    if method == "attention":
        layers = [[layer.arrays("") for layer in one.attentions] for one in aligners if one is not None]
        for name, array in layers[0][fold].items():
            np.testing.assert_allclose(array, layers[1][fold][name], atol=1e-4)
        assert np.abs(layers[0][1]["output"] - layers[1][1]["output"]).max() > 1e-4
    elsewhere = (fold + 1) % NUM_FOLDS
    without, with_it = (one.spaces[elsewhere].vectors(some)["text"] for one in aligners if one is not None)
    assert np.abs(without @ without.T - with_it @ with_it.T).max() > 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_vectors(learned: dict[str, Alignment], planted: FitData, method: str) -> None:
    again = align(planted, config(method))
    first, second = (one.aligner.arrays() for one in (learned[method], again) if one.aligner is not None)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS)
def test_an_item_with_any_modality_has_a_vector_and_one_without_has_none(planted: FitData, method: str) -> None:
    text, image = planted.contents["text:title"], planted.contents["image:images"]
    gone_text, gone_image = np.arange(NUM_ITEMS) < 200, np.arange(NUM_ITEMS) % 5 == 0
    contents = {
        "text:title": Content.from_vectors("text:title", text.matrix, ~gone_text),
        "image:images": Content.from_vectors("image:images", image.matrix, ~gone_image),
    }
    found = align(replace(planted, contents=contents), config(method)).aligner
    assert found is not None
    block = found.block(contents, NUM_ITEMS, planted.item_ids)
    assert block.name == f"aligned:{method}"
    assert np.array_equal(block.has, ~(gone_text & gone_image))
    lengths = np.linalg.norm(np.asarray(block.matrix), axis=1)
    np.testing.assert_allclose(lengths[block.has], 1, atol=1e-5)
    assert not lengths[~block.has].any()


def test_texts_that_were_read_out_of_an_image_are_no_texts(planted: FitData) -> None:
    image = planted.contents["image:images"]
    seen = {name: Content.from_vectors(name, image.matrix) for name in ("text:labels", "text:ocr")}
    found = align(replace(planted, contents={"image:images": image, **seen}), config())
    assert (found.aligner, found.reason) == (None, "no two modalities have 10 items in common")


# bad input


def test_rows_that_are_not_finite_or_constant_count_as_missing(planted: FitData) -> None:
    text = np.array(planted.contents["text:title"].matrix)
    text[3, 0], text[4] = np.nan, np.inf
    same = Content.from_vectors("audio:audio", np.full((NUM_ITEMS, 12), 0.1, dtype=np.float32))
    contents = {**planted.contents, "text:title": Content("text:title", "dense", text, np.ones(NUM_ITEMS, np.bool_))}
    contents |= {"audio:audio": same}
    for method in METHODS:
        found = align(replace(planted, contents=contents), config(method)).aligner
        assert found is not None
        vectors = found.vectors(contents, planted.item_ids)
        assert set(vectors) == {"text", "image"}, "what is the same everywhere is no modality"
        assert not vectors["text"][[3, 4]].any()
        block = found.block(contents, NUM_ITEMS, planted.item_ids)
        assert np.isfinite(np.asarray(block.matrix)).all()
        assert block.has.all()


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("pca", ""),
        ("cca", "no two modalities have 10 items in common"),
        ("cooccurrence", ""),
        ("infonce", ""),
        ("attention", ""),
    ],
)
def test_one_modality_alone_is_aligned_with_behaviour_or_the_reason_is_told(
    planted: FitData, method: str, reason: str
) -> None:
    found = align(replace(planted, contents={"text:title": planted.contents["text:title"]}), config(method))
    assert found.reason == reason
    assert (found.aligner is None) == bool(reason)
    assert found.retrieval == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_items", [0, 1, 3])
def test_too_few_items_give_no_space_and_a_reason(planted: FitData, method: str, num_items: int) -> None:
    few = np.arange(num_items)
    nobody = Interactions.from_rows([], [], (1, num_items))
    contents = {name: content.rows(few) for name, content in planted.contents.items()}
    found = align(FitData(planted.item_ids[few], nobody, contents), config(method, find_contradictions=True))
    assert found.aligner is None and found.likeness is None
    assert found.reason
    assert align(FitData(planted.item_ids[few], nobody, {}), config(method)).aligner is None


# as a block of the ranker


def test_a_joint_space_has_no_weight_before_the_search_gives_it_one(
    planted: FitData, learned: dict[str, Alignment]
) -> None:
    aligner = learned["cca"].aligner
    assert aligner is not None
    features = ContentFeatures.learn(aligner.with_block(planted.contents, NUM_ITEMS, planted.item_ids))
    assert list(features.rows) == ["image:images", "text:title", "aligned:cca"]
    assert features.weighted({}) == {"image:images": 1.0, "text:title": 1.0}
    assert features.weighted({"aligned:cca": 2.0})["aligned:cca"] == 2.0


def test_a_saved_ranker_gives_new_items_the_joint_space_of_its_fit(planted: FitData, tmp_path: Any) -> None:
    new = np.arange(NUM_ITEMS) >= NUM_ITEMS - 20
    train = planted.with_interactions(planted.interactions.without_items(new))
    aligner = align(train, config("cca", find_contradictions=True, contradiction_weight=0.5)).aligner
    assert aligner is not None and aligner.likeness is not None
    data = replace(train, contents=aligner.with_block(train.contents, NUM_ITEMS, train.item_ids))
    only_joint = {"aligned:cca": 1.0, "text:title": 0.0, "image:images": 0.0}
    cold = SETTINGS.cold_items.model_copy(update={"weights": only_joint})
    ranker = replace(fit_first_stage(data, SETTINGS.model_copy(update={"cold_items": cold})), aligner=aligner)
    ranker.save(tmp_path)
    loaded = FittedRanker.load(tmp_path)
    contents = {name: content.rows(np.flatnonzero(new)) for name, content in planted.contents.items()}
    found = loaded.item_vectors_from_content(contents, 20)
    np.testing.assert_array_equal(found, ranker.item_vectors_from_content(contents, 20))
    assert np.ptp(found[:, :8], axis=0).max() > 0, "the joint space tells the items apart"


@pytest.mark.parametrize("method", ["cca", "attention"])
def test_an_aligner_is_the_same_after_it_was_stored(planted: FitData, method: str) -> None:
    aligner = align(planted, config(method, contradiction_weight=0.0)).aligner
    assert aligner is not None
    again = Aligner.load(aligner.arrays(), aligner.meta())
    first, second = (
        np.asarray(one.block(planted.contents, NUM_ITEMS, planted.item_ids).matrix) for one in (aligner, again)
    )
    np.testing.assert_array_equal(first, second)


# findings

WRONG = (7, 80, 211, 399, 512, 590)


def test_images_of_other_items_are_found_and_hardly_any_right_one() -> None:
    data = catalogue(wrong=WRONG)
    settings = config("none", find_contradictions=True)
    alignment = align(data, settings)
    assert alignment.likeness is not None
    found = {one.item: one for one in modality_findings(alignment.likeness, data.contents, data.item_ids)}
    assert len(found.keys() & set(WRONG)) >= 5
    assert len(found.keys() - set(WRONG)) <= 6
    one = found[max(found.keys() & set(WRONG))]
    assert (one.kind, one.against, one.threshold) == ("modality", "image", -3.5)
    assert one.score < -3.5
    assert one.told.startswith("image and text do not go together: their likeness is ")


def test_what_contradicts_itself_weighs_less_in_the_joint_vector() -> None:
    data = catalogue(wrong=WRONG)
    full, less = (align(data, config("cca", contradiction_weight=weight)).aligner for weight in (1.0, 0.0))
    assert full is not None and less is not None and less.likeness is not None
    z = less.likeness.z_scores(data.contents, folds_of(data.item_ids, NUM_FOLDS))["image"]
    doubted = less.likeness.contradicts(z)
    assert doubted[list(WRONG)].sum() >= 5
    text = less.vectors(data.contents, data.item_ids)["text"]
    before, after = (np.asarray(one.block(data.contents, NUM_ITEMS, data.item_ids).matrix) for one in (full, less))
    np.testing.assert_allclose(after[doubted], text[doubted], atol=1e-5)
    np.testing.assert_array_equal(after[~doubted], before[~doubted])


def test_modalities_that_have_nothing_in_common_contradict_nothing(planted: FitData) -> None:
    rng = np.random.default_rng(3)
    noise = {name: Content.from_vectors(name, rng.standard_normal((NUM_ITEMS, 20))) for name in planted.contents}
    alignment = align(replace(planted, contents=noise), config("none", find_contradictions=True))
    found = alignment.likeness and list(modality_findings(alignment.likeness, noise, planted.item_ids))
    assert len(found or []) <= 3


def prices(*, wrong: dict[int, float]) -> list[Finding]:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(np.log(20), 0.3, 120))
    values[60:] *= 50
    for item, price in wrong.items():
        values[item] = price
    categories = [["Books"] if item < 60 else ["Sofas"] for item in range(120)]
    categories[3] = ["Books", "Sofas"]
    return list(price_findings(values, categories, config(min_items=30)))


def test_prices_far_from_those_of_their_category_are_found() -> None:
    assert prices(wrong={}) == []
    below, above = sorted(prices(wrong={70: 20.0, 5: 900.0}), key=lambda one: one.score)
    assert (below.item, below.against, above.item, above.against) == (70, "Sofas", 5, "Books")
    assert below.score < -5 < 5 < above.score
    assert "the price 900.00 is far above those of Books, where 2" in above.told


def test_a_price_that_fits_one_of_its_categories_is_right() -> None:
    assert prices(wrong={3: 900.0}) == []


def test_prices_that_are_missing_or_free_and_small_categories_tell_nothing() -> None:
    assert prices(wrong={5: np.nan, 6: 0.0, 7: -3.0}) == []
    assert list(price_findings(np.array([1.0, 1e6]), [["A"], ["A"]], config(min_items=10))) == []
    assert list(price_findings(np.zeros(0), [], config())) == []
    assert list(price_findings(np.ones(1), [[]], config())) == []


def test_one_odd_price_among_equal_ones_is_found() -> None:
    values = np.full(60, 9.99)
    values[8] = 999.0
    (found,) = price_findings(values, [["Socks"]] * 60, config(min_items=30))
    assert found.item == 8


def test_near_duplicates_with_titles_of_variants_are_found_once_each() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6, 16)).astype(np.float32)
    vectors[[2, 4, 5]] = vectors[1] + 0.01 * rng.standard_normal((3, 16))
    titles = ["Lamp", "Shirt, red", "Shirt, blue", None, "Shirt 42", "Coat"]
    ids = np.array([f"i{place}" for place in range(6)])
    contents = {"text:title": Content.from_vectors("text:title", vectors)}
    found = sorted(duplicate_findings(contents, titles, ids, config()), key=lambda one: one.item)
    assert [one.item for one in found] == [2, 4]
    assert {one.against for one in found} <= {"i1", "i2"}
    assert all(one.score > 0.95 and one.kind == "near_duplicate" for one in found)
    assert list(duplicate_findings({}, titles, ids, config())) == []
