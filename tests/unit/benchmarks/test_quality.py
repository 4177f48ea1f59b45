from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from mmrec_lib.evaluation.significance import holm_adjusted
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import Content, FitData, Interactions
from mmrec_lib.models.second_stage_settings import FusionForm
from tests.benchmarks.quality.__main__ import main
from tests.benchmarks.quality.contenders import contenders, without_share
from tests.benchmarks.quality.plots import HEADLINES
from tests.benchmarks.quality.runs import RunKey, RunResult, finished
from tests.benchmarks.quality.splits import PROTOCOLS, Judge
from tests.benchmarks.quality.summary import p_value, pool, summarise


def result(by_user: dict[int, float], metric: str = "ndcg@10") -> RunResult:
    values = {"users": np.array(list(by_user)), metric: np.array(list(by_user.values()))}
    return RunResult({}, {}, None, 1.0, {"fit1": {"all": values}})


def test_a_judge_masks_what_a_user_had_and_splits_users_and_items() -> None:
    # User 0 had item 0, user 1 nothing; item 3 had nobody.
    data = FitData(np.array(["a", "b", "c", "d"]), Interactions.from_rows([0, 2, 2], [0, 1, 2], (4, 4)))
    test = Interactions.from_rows([0, 0, 1, 3], [0, 1, 3, 2], (4, 4))
    values = Judge.of(data, test).by_user(lambda users: np.tile(np.float32([9, 8, 7, 6]), (len(users), 1)))
    assert values["all"]["users"].tolist() == [0, 1, 3]
    # User 0: item 0 is masked, item 1 first. User 1: item 3 at place 4. User 3: item 2 at place 3.
    np.testing.assert_allclose(values["all"]["ndcg@10"], [1, 1 / np.log2(5), 1 / np.log2(4)])
    assert values["warm"]["users"].tolist() == [0]
    assert values["cold"]["users"].tolist() == [1, 3]
    assert values["new_items"]["users"].tolist() == values["new_items_in_all"]["users"].tolist() == [1]
    assert values["new_items"]["recall@20"].tolist() == [1.0]


def test_new_items_alone_are_ranked_before_they_stand_among_all() -> None:
    rows, columns = np.arange(25), np.arange(25)
    data = FitData(np.array([f"i{item}" for item in range(26)]), Interactions.from_rows(rows, columns, (26, 26)))
    test = Interactions.from_rows([25], [25], (26, 26))
    descending = np.arange(26, 0, -1).astype(np.float32)
    values = Judge.of(data, test).by_user(lambda users: np.tile(descending, (len(users), 1)))
    assert values["new_items"]["recall@20"].tolist() == [1.0]
    assert values["new_items_in_all"]["recall@20"].tolist() == [0.0]


def test_a_user_counts_once_over_seeds() -> None:
    users, values = pool([(np.array([1, 4]), np.array([0.2, 1.0])), (np.array([4, 7]), np.array([0.0, 0.4]))])
    assert users.tolist() == [1, 4, 7]
    np.testing.assert_allclose(values, [0.2, 0.5, 0.4])


def test_p_values_are_those_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(40), rng.random(40)
    assert p_value(first - second) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert p_value(np.zeros(5)) == 1.0
    assert p_value(np.full(5, 0.1)) == 0.0


def test_rows_pair_users_and_name_the_best_baseline() -> None:
    runs = {
        "ranker": {0: result({1: 0.5, 2: 0.7, 3: 0.9}), 1: result({1: 0.7, 2: 0.9, 3: 0.9})},
        "ease": {0: result({1: 0.4, 2: 0.7, 3: 0.5}), 1: result({1: 0.4, 2: 0.5, 3: 0.3})},
        "popularity": {0: result({1: 0.1, 2: 0.2, 3: 0.4}), 1: result({1: 0.1, 2: 0.1, 3: 0.1})},
        "ranker_no_content": {0: result({1: 0.5, 2: 0.7, 3: 0.8}), 1: result({1: 0.5, 2: 0.9, 3: 0.9})},
        "sasrec": {0: RunResult({}, {}, None, 0.0, {}, "events have no time stamps")},
    }
    groups = dict.fromkeys(runs, "baseline") | {"ranker": "ranker"}
    rows = {row.contender: row for row in summarise("P9", runs, groups, is_random=True)}
    assert set(rows) == {"ranker", "ease", "popularity", "ranker_no_content"}
    assert rows["ranker"].mean == pytest.approx((0.7 + 2.5 / 3) / 2)
    assert rows["ranker"].deviation == pytest.approx((2.5 / 3 - 0.7) / 2)
    assert rows["ranker"].difference is None
    assert (rows["ease"].num_seeds, rows["ease"].num_users) == (2, 3)
    assert rows["ease"].difference == pytest.approx(np.mean([0.6 - 0.4, 0.8 - 0.6, 0.9 - 0.4]))
    assert rows["ease"].difference_low <= rows["ease"].difference <= rows["ease"].difference_high
    assert [name for name, row in rows.items() if row.is_best_baseline] == ["ease"]
    baselines = [row for row in rows.values() if row.group == "baseline"]
    assert [row.p_holm for row in baselines] == holm_adjusted(np.array([row.p_value for row in baselines])).tolist()


def test_a_contender_that_is_not_random_pairs_with_every_seed_of_a_given_split_only() -> None:
    runs = {"ranker": {0: result({1: 0.5, 2: 0.5}), 1: result({1: 0.7, 2: 0.9})}, "ease": {0: result({1: 0.4, 2: 0.1})}}
    groups = {"ranker": "ranker", "ease": "baseline"}
    given, drawn = (
        next(row for row in summarise("P9", runs, groups, is_random) if row.contender == "ease").difference
        for is_random in (False, True)
    )
    assert given == pytest.approx(np.mean([0.6 - 0.4, 0.7 - 0.1]))
    assert drawn == pytest.approx(np.mean([0.5 - 0.4, 0.5 - 0.1]))


def test_a_run_is_read_as_written_and_made_anew_for_other_inputs(tmp_path: Path) -> None:
    key = RunKey("P1", 3, "ease")
    written = replace(result({1: 0.25, 9: 0.5}), inputs={"num_settings": 6}, settings={"factors": 64.0}, num_tried=6)
    assert finished(tmp_path, key, written.inputs) is None
    written.write(key.path(tmp_path))
    read = finished(tmp_path, key, {"num_settings": 6})
    assert read is not None
    assert (read.settings, read.num_tried, read.seconds) == (written.settings, 6, 1.0)
    np.testing.assert_array_equal(read.values["fit1"]["all"]["users"], [1, 9])
    np.testing.assert_array_equal(read.values["fit1"]["all"]["ndcg@10"], [0.25, 0.5])
    assert finished(tmp_path, key, {"num_settings": 2}) is None
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["P1-seed3-ease.json"]


def test_a_modality_is_missing_as_a_whole_and_attributes_stay() -> None:
    contents = {
        "text:title": Content.from_vectors("text:title", np.ones((400, 2))),
        "text:ocr": Content.from_tokens("text:ocr", [["a"]] * 399 + [[]]),
        "image:images": Content.from_vectors("image:images", np.ones((400, 3))),
        "attribute:year": Content.from_tokens("attribute:year", [["y1999"]] * 400),
    }
    left = without_share(contents, 0.3, np.random.default_rng(0))
    assert left["text:title"].has.mean() == pytest.approx(0.7, abs=0.06)
    assert left["image:images"].has.mean() == pytest.approx(0.7, abs=0.06)
    np.testing.assert_array_equal(left["text:title"].has[:399], left["text:ocr"].has[:399])
    assert not left["text:ocr"].has[399]
    assert (left["text:title"].has != left["image:images"].has).any()
    assert (left["text:title"].matrix[~left["text:title"].has] == 0).all()
    assert np.diff(left["text:ocr"].matrix.indptr)[~left["text:ocr"].has].sum() == 0
    assert left["attribute:year"] is contents["attribute:year"]


def test_every_source_and_modality_has_an_ablation() -> None:
    named = contenders(("attribute:year", "text:ocr", "text:title"), TrainingConfig(), 3)
    ablation = {name for name, contender in named.items() if contender.group == "ablation"}
    sources = {f"without_source_{name}" for name in TrainingConfig().sources}
    others = {"without_groups", "without_popularity", "equal_weights", "without_second_stage"}
    forms = {f"second_stage_{form}" for form in get_args(FusionForm)}
    levels = {f"second_stage_level_{level}" for level in ("model", "hybrid", "decision")}
    losses = {f"second_stage_loss_{loss}" for loss in ("bpr", "logistic")}
    options = {"hard_negatives", "no_false_negatives", "content_noise", "adversarial", "lambdamart"}
    others |= forms | levels | losses | {f"second_stage_{name}" for name in options}
    assert ablation == sources | others | {"without_modality_attribute", "without_modality_text"}
    assert next(iter(named)) == "ranker"
    assert "missing_30" in named
    assert "missing_30" not in contenders(("audio:vggish",), TrainingConfig(), 3)


def write_films(folder: Path, rng: np.random.Generator) -> None:
    """40 users and 30 films of three genres; every user takes ten films of one genre first."""
    (folder / "events").mkdir(parents=True)
    items = [{"item_id": f"i{item}", "categories": [f"g{item % 3}"]} for item in range(30)]
    (folder / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    events = []
    for user in range(40):
        own = np.arange(user % 3, 30, 3)
        for place, item in enumerate((*rng.permutation(own)[:8], *rng.permutation(30)[:3])):
            day = int(rng.integers(1, 29))
            ts = f"1998-01-{day:02d}T00:00:{place:02d}+00:00"
            events.append({"event_id": f"e{user}-{place}", "user_id": f"u{user}", "item_id": f"i{item}", "ts": ts})
    (folder / "events" / "1998-01.jsonl").write_text("\n".join(json.dumps(event) for event in events))


@pytest.mark.slow
def test_the_command_writes_results_and_plots_and_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_films(tmp_path / "data" / "ml-100k-mm", np.random.default_rng(0))
    out = tmp_path / "out"
    command = ["--data", str(tmp_path / "data"), "--out", str(out), "--protocol", "P2", "--quick", "--models"]
    assert main([*command, "popularity"]) == 0
    first = (out / "runs" / "P2-seed0-ranker.json").stat().st_mtime_ns
    assert main([*command, "popularity", "content_knn", "equal_weights", "without_modality_attribute"]) == 0
    assert (out / "runs" / "P2-seed0-ranker.json").stat().st_mtime_ns == first
    results = json.loads((out / "quality.json").read_text())
    assert {(run["contender"], run["num_tried"]) for run in results["runs"]} == {
        ("ranker", None),
        ("popularity", None),
        ("content_knn", 2),
        ("equal_weights", None),
        ("without_modality_attribute", None),
    }
    rows = [row for row in results["rows"] if (row["fit"], row["segment"], row["metric"]) == ("fit2", "all", "ndcg@10")]
    assert {row["contender"] for row in rows} == {run["contender"] for run in results["runs"]}
    assert all((row["p_holm"] is None) == (row["contender"] == "ranker") for row in rows)
    assert {path.name for path in out.glob("*.png")} == {"P2-models.png", "P2-ablation.png"}
    assert "P2 seed 0 content_knn" in capsys.readouterr().out


def test_unknown_models_and_missing_data_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_films(tmp_path / "ml-100k-mm", np.random.default_rng(0))
    common = ["--out", str(tmp_path / "out"), "--protocol", "P2"]
    with pytest.raises(SystemExit, match=r"--models: must be among ranker, popularity, .*; got popularty"):
        main(["--data", str(tmp_path), *common, "--models", "popularty"])
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path / "nowhere"), *common])
    assert "is no folder; give the folder that holds ml-100k-mm and lastfm-2k-mm" in capsys.readouterr().err


def test_headlines_are_of_fits_and_protocols_that_there_are() -> None:
    assert all(headline.fit in PROTOCOLS[headline.protocol].fits for headline in HEADLINES)
    assert {headline.protocol for headline in HEADLINES} == set(PROTOCOLS)
