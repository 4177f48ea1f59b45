"""Configuration: layers, and messages that tell a person what to change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mmrec_lib.config import load_config
from mmrec_lib.errors import ConfigError
from mmrec_lib.runtime.settings import Settings
from tests.conftest import PROJECT


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    write(tmp_path / "base" / "a.yaml", {"training": {"seed": 1}, "scoring": {"k": 10}})
    write(tmp_path / "env" / "local" / "a.yaml", {"scoring": {"k": 20}})
    write(tmp_path / "env" / "other" / "a.yaml", {"scoring": {"k": 30}})
    return tmp_path


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_later_layers_win_and_leave_the_rest(conf: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", {"scoring": {"k": 40}})
    assert load_config(Settings, conf, "local").scoring.k == 20
    assert load_config(Settings, conf, "other").scoring.k == 30
    assert load_config(Settings, conf, "local", [str(file)]).scoring.k == 40
    settings = load_config(Settings, conf, "local", [str(file)], ["scoring.k=50"])
    assert settings.scoring.k == 50
    assert settings.training.seed == 1
    assert settings.scoring.num_neighbors == Settings().scoring.num_neighbors


def test_of_two_files_the_later_one_wins(conf: Path, tmp_path: Path) -> None:
    files = [str(write(tmp_path / f"{k}.yaml", {"scoring": {"k": k}})) for k in (7, 8)]
    assert load_config(Settings, conf, "local", files).scoring.k == 8


def test_an_unknown_form_of_vectors_is_refused_with_those_there_are(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"embedding\.storage.*'float32' or 'float16'"):
        load_config(Settings, conf, "local", (), ["embedding.storage=int4"])


def test_assignments_are_yaml(conf: Path) -> None:
    overrides = ["training.use_content=false", "evaluation.ks=[5,10]", "embedding.encode.review.text=null"]
    settings = load_config(Settings, conf, "local", (), overrides)
    assert settings.training.use_content is False
    assert settings.evaluation.ks == (5, 10)
    assert settings.embedding.encode.review.text is None


def test_one_key_may_refer_to_another(conf: Path) -> None:
    assert load_config(Settings, conf, "local", (), ["scoring.num_neighbors=${scoring.k}"]).scoring.num_neighbors == 20


def test_a_reference_to_nothing_is_told(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"scoring\.kk"):
        load_config(Settings, conf, "local", (), ["scoring.num_neighbors=${scoring.kk}"])


def test_an_unknown_key_names_the_nearest_known_one(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"`training\.sed` is unknown; did you mean `seed`\?"):
        load_config(Settings, conf, "local", (), ["training.sed=1"])


def test_an_unknown_section_names_the_nearest_known_one(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"`trainng` is unknown; did you mean `training`\?"):
        load_config(Settings, conf, "local", (), ["trainng.seed=1"])


def test_an_unknown_key_far_from_all_lists_the_known_ones(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"known keys here: .*num_neighbors"):
        load_config(Settings, conf, "local", (), ["scoring.xyzzy=1"])


def test_several_mistakes_are_told_at_once(conf: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Settings, conf, "local", (), ["training.sed=1", "scoring.k=0"])
    assert "training.sed" in str(caught.value)
    assert "`scoring.k`" in str(caught.value)
    assert "got 0" in str(caught.value)


def test_a_key_that_stands_twice_in_one_layer_is_refused(conf: Path) -> None:
    write(conf / "base" / "b.yaml", {"training": {"seed": 2}})
    with pytest.raises(ConfigError, match=r"`training\.seed` stands twice in base: in a\.yaml and b\.yaml"):
        load_config(Settings, conf, "local")


def test_two_files_of_one_layer_may_fill_one_section(conf: Path) -> None:
    write(conf / "base" / "b.yaml", {"training": {"max_groups": 3}})
    settings = load_config(Settings, conf, "local")
    assert (settings.training.seed, settings.training.max_groups) == (1, 3)


@pytest.mark.parametrize("override", ["training.seed", "=3", " =3"])
def test_an_assignment_without_key_or_value_is_refused(conf: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=r"the form is key\.path=value"):
        load_config(Settings, conf, "local", (), [override])


def test_an_unknown_environment_lists_the_known_ones(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"'prod'.*\['local', 'other'\]"):
        load_config(Settings, conf, "prod")


def test_a_missing_file_is_named(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        load_config(Settings, conf, "local", ["nowhere.yaml"])


def test_a_file_that_is_no_yaml_is_named(conf: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1,", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml is not valid YAML"):
        load_config(Settings, conf, "local", [str(path)])


def test_event_types_are_added_and_changed(conf: Path) -> None:
    write(conf / "base" / "events.yaml", {"events": {"view": {"weight": 1.0}}})
    settings = load_config(Settings, conf, "local", (), ["events.view.weight=2", "events.wish.weight=3"])
    assert settings.events["view"].weight == 2
    assert settings.events["wish"].needs_item


@pytest.mark.parametrize("env", ["local", "databricks"])
def test_the_shipped_environments_load(env: str) -> None:
    assert load_config(Settings, PROJECT / "conf", env).scoring.k == 50


def test_what_the_shipped_base_repeats_is_the_default() -> None:
    settings = load_config(Settings, PROJECT / "conf", "local")
    for name in ("ingest", "events", "items", "media", "features", "training", "evaluation", "promotion", "scoring"):
        assert getattr(settings, name) == getattr(Settings(), name), name


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("reranking.exploration.slots=[60]", r"slots: places of 1 to scoring.k = 20 are needed, got \[60\]"),
        (
            "scoring={explained_ranks: 0, num_reasons: 5}",
            "num_reasons has an effect only where scoring.explained_ranks",
        ),
        (
            "events.search={seen_days: 3, counts_as_seen: false}",
            "seen_days has an effect only where counts_as_seen is true, got 3 days without",
        ),
        ("events.like.low_value_means=ignore", "low_value_means has an effect only beside low_value_below"),
    ],
)
def test_settings_without_effect_are_refused(conf: Path, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(Settings, conf, "local", (), [override])
