"""docs/rules.md: its examples do what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.runtime.config_docs import config_keys, config_page
from mmrec_lib.section import Section
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from tests.unit.showing.shop import DAY, item, items_table, maps

PAGE = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_of_rules_is_read_and_holds(tmp_path: Path) -> None:
    (text,) = (text for text in YAML if "rules:" in text)
    (tmp_path / "rules.yaml").write_text(text)
    config = ShowingConfig(rules_file=str(tmp_path / "rules.yaml"))
    records = [
        item("p001", categories=["Dresses"], price=80.0, attributes={"stock": "9", "margin": "0.3", "brand": "Acme"}),
        item("p002", categories=["Dresses"], price=250.0, attributes={"stock": "2", "margin": "0.3"}),
        item("p003", attributes={"stock": "5", "margin": "0.3"}),
        item("p004", attributes={"margin": "0.01"}),
    ]
    rules = build_rules(items_table(records), config, DAY, {"country": ["DE", "FR"], "age": ["17", "40"]})
    assert rules.is_listed.tolist() == [True, False, True, False]
    users = [{"country": "DE", "age": "40"}, {"country": "DE", "age": "17"}]
    limits = rules.of_users(maps(users))
    assert (limits.user_boosts @ rules.item_boosts.T).tolist() == [[-0.5, 0, 0, 0]] * 2
    assert [(pin.position, pin.item) for pin in rules.pins] == [(2, 0)]
    assert limits.in_segment["grown_up_germans"].tolist() == [True, False]


def test_the_example_of_seen_days_is_a_configuration() -> None:
    (text,) = (text for text in YAML if text.startswith("events:"))
    config = LandingConfig.model_validate(OmegaConf.to_container(OmegaConf.create(text)))
    assert config.events["purchase"].seen_days == 30


def test_the_python_example_prints_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (said,) = re.findall(r"```\n(\[KeptOut.*?)```", PAGE, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == said


class Root(Section):
    """A configuration with the section.

    Attributes:
        showing: What may be shown.
        features: Another section.
    """

    showing: ShowingConfig = ShowingConfig()
    features: FeaturesConfig = FeaturesConfig()


@pytest.fixture(scope="module")
def page() -> str:
    return config_page(Root)


def test_the_section_can_be_documented_with_all_its_keys(page: str) -> None:
    keys = {key for key in config_keys(Root) if key.startswith("showing.")}
    scalars = set(ShowingConfig.model_fields) - {"rules", "segments"}
    assert {f"showing.{name}" for name in scalars} <= keys
    named = {f"`{key}`" for key in keys}
    assert all(name in page for name in named)
    for key in re.findall(r"`(showing\.\w+)`", PAGE):
        assert key.removeprefix("showing.") in ShowingConfig.model_fields, key
