"""The example of serving, asked over HTTP in this process."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from fastapi.testclient import TestClient

from mmrec_lib.errors import ModelError
from mmrec_lib.models.ranker import pyfunc_file
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.tracking.registry import CHAMPION
from mmrec_lib.tracking.service import app, create_app
from tests.registered import open_registry, small_ranker
from tests.unit.showing.shop import DAY, item, items_table

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]
MODEL = f"models:/mmrec_ranker@{CHAMPION}"


@pytest.fixture(scope="module")
def rules_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of two brands; i06 is for France only, i08 is excluded, i10 is pinned."""
    folder = tmp_path_factory.mktemp("rules")
    records = [
        item(name, markets=["FR"] if name == "i06" else None, attributes={"brand": "Acme" if number % 4 else "Bolt"})
        for number, name in enumerate(small_ranker().item_ids.tolist())
    ]
    rules = [
        {"name": "out", "kind": "exclude", "items": {"item_ids": ["i08"]}},
        {"name": "first", "kind": "pin", "position": 1, "items": {"item_ids": ["i10"]}},
    ]
    config = ShowingConfig.model_validate({"rules": rules, "market_attribute": "country"})
    build_rules(items_table(records), config, DAY, {"country": ["DE"]}, soft_controls={}).save(folder)
    return folder


@pytest.fixture(scope="module")
def client(made_store: Path, rules_folder: Path) -> TestClient:
    open_registry(made_store).by_alias(CHAMPION)  # sets MLflow's address
    return TestClient(create_app(MODEL, str(rules_folder)))


def ask(client: TestClient, **request: object) -> list[str]:
    answer = client.post("/lists", json=request)
    assert answer.status_code == 200, answer.text
    return [entry["item_id"] for entry in answer.json()]


def test_a_list_holds_unseen_items_of_the_own_taste_that_may_be_shown(client: TestClient) -> None:
    events = [{"item_id": "i00"}, {"item_id": "i02", "weight": 2.0}]
    found = ask(client, events=events, k=17, attributes={"country": "FR"})
    assert found[0] == "i10" and "i06" in found
    assert not {"i00", "i02", "i08"} & set(found)
    assert all(int(name[1:]) % 2 == 0 for name in found)
    assert "i06" not in ask(client, events=events, k=40, attributes={"country": "a land that the rules do not know"})


def test_what_a_user_set_holds(client: TestClient) -> None:
    def set_to(action: str, kind: str, target: str) -> list[dict[str, str]]:
        return [{"action": action, "target_kind": kind, "target": target}]

    plain = ask(client, events=[{"item_id": "i00"}], k=40)
    muted = ask(client, events=[{"item_id": "i00"}], k=40, controls=set_to("mute", "brand", "Bolt"))
    assert muted == [name for name in plain if int(name[1:]) % 4]
    assert ask(client, k=3, controls=set_to("block", "item", "i10"))[0] != "i10"
    lifted = ask(client, events=[{"item_id": "i00"}], k=9, controls=[*set_to("boost", "brand", "Bolt")])
    assert sum(int(name[1:]) % 4 == 0 for name in lifted) > sum(int(name[1:]) % 4 == 0 for name in plain[:9])


def test_requests_that_cannot_be_read_are_told_what_is_wrong(client: TestClient) -> None:
    assert client.post("/lists", json={"k": 0}).status_code == 422
    assert "extra" in client.post("/lists", json={"items": []}).text
    boost = {"action": "boost", "target_kind": "item", "target": "i00"}
    answer = client.post("/lists", json={"controls": [boost]})
    assert answer.status_code == 422 and "on an item must be block or mute" in answer.text


def test_without_rules_everything_is_shown_and_controls_are_refused(
    made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMREC_MODEL", MODEL)
    monkeypatch.delenv("MMREC_RULES", raising=False)
    open_registry(made_store).by_alias(CHAMPION)
    client = TestClient(app())
    assert {"i06", "i08"} <= set(ask(client, k=40))
    block = {"action": "block", "target_kind": "item", "target": "i00"}
    answer = client.post("/lists", json={"controls": [block]})
    assert answer.status_code == 422 and "controls need rules" in answer.text


def test_a_folder_without_rules_is_refused(made_store: Path, tmp_path: Path) -> None:
    open_registry(made_store).by_alias(CHAMPION)
    with pytest.raises(Exception, match=r"there is no showing\.json"):
        create_app(MODEL, str(tmp_path))


def test_rules_of_a_model_that_takes_none_are_refused(tmp_path: Path, rules_folder: Path) -> None:
    small_ranker().save(tmp_path / "ranker")
    mlflow.pyfunc.save_model(
        tmp_path / "old",
        python_model=pyfunc_file.__file__,
        artifacts={"ranker": str(tmp_path / "ranker")},
        signature=pyfunc_file.signature(),
        pip_requirements=["numpy"],
    )
    with pytest.raises(ModelError, match="a model that takes rules is needed"):
        create_app(str(tmp_path / "old"), str(rules_folder))


def test_candidates_are_ordered_under_the_rules_and_nothing_is_added(client: TestClient) -> None:
    request = {"events": [{"item_id": "i00"}], "attributes": {"country": "DE"}}
    found = ask(client, **request, candidates=["i05", "i06", "i08", "i04"], k=1)
    assert found == ["i04", "i05"]
