"""The code that travels with a model: only what it needs, and enough of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmrec_lib.tracking.registry import CHAMPION
from mmrec_lib.tracking.shipping import needed_modules, pinned, ship_code
from tests.conftest import PROJECT
from tests.registered import open_registry

ENTRY = "mmrec_lib.models.ranker.pyfunc_file"
PUBLIC = ["mlflow", "numpy", "pandas", "pyarrow", "pydantic", "safetensors", "scipy"]
OPTIONAL = ["weights", "attributes", "controls", "times", "candidates", "context"]


def test_only_the_models_and_what_they_import_travel() -> None:
    files, packages = needed_modules(ENTRY)
    names = {str(path.relative_to(PROJECT / "mmrec_lib")) for path in files}
    assert {
        "models/ranker/pyfunc_file.py",
        "models/ranker/ranker.py",
        "models/attributes.py",
        "topk/selection.py",
    } <= names
    tops = {
        "__init__.py",
        "errors.py",
        "location.py",
        "safe_text.py",
        "section.py",
        "models",
        "showing",
        "text",
        "topk",
    }
    assert {name.split("/")[0] for name in names} == tops
    assert packages == PUBLIC


def test_requirements_are_public_packages_at_the_versions_of_the_lock() -> None:
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    assert set(pinned(PUBLIC)) <= set(re.findall(r"^[a-z0-9_.-]+==[^ ]+", lock, flags=re.MULTILINE))


@pytest.mark.slow
def test_the_same_code_has_the_same_name_and_other_code_another(tmp_path: Path) -> None:
    first, second = ship_code(ENTRY, tmp_path / "1"), ship_code(ENTRY, tmp_path / "2")
    other = ship_code("mmrec_lib.topk.selection", tmp_path / "3")
    assert first.package == second.package != other.package
    texts = [path.read_text(encoding="utf-8") for path in first.folder.rglob("*.py")]
    assert not any(re.search(r"^\s*(from|import) mmrec_lib\b", text, flags=re.MULTILINE) for text in texts)


def test_the_registered_model_names_public_packages_only(made_store: Path) -> None:
    (requirements,) = made_store.glob("mlartifacts/models/*/artifacts/requirements.txt")
    lines = requirements.read_text(encoding="utf-8").split()
    assert sorted(line.split("==")[0] for line in lines) == PUBLIC
    assert not list(made_store.rglob("*.pkl"))


@pytest.mark.slow
def test_a_model_is_served_without_the_library(made_store: Path, tmp_path: Path) -> None:
    (folder,) = made_store.glob("mlartifacts/models/*/artifacts")
    shutil.copytree(folder, tmp_path / "model")
    # -I: neither this folder nor PYTHONPATH is searched.
    command = [sys.executable, "-I", str(PROJECT / "tests" / "served.py"), str(tmp_path / "model")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["library"] == []
    assert told["files"] and all(path.startswith(str(tmp_path / "model" / "code")) for path in told["files"])
    assert [len(items) for items in told["item_ids"]] == [3, 3] and told["alone"] == [10, 10]
    assert all(int(item[1:]) % 2 == 0 for item in told["item_ids"][0])  # the colour of the history
    assert all(int(item[1:]) % 2 == 1 for item in told["item_ids"][1])  # the colour that the attributes name


@pytest.mark.slow
def test_loading_a_model_leaves_the_library_whole(made_store: Path) -> None:
    """A process that loads the model first and uses the library then must find all of the library."""
    script = (
        "import sys, mlflow\n"
        f"mlflow.set_tracking_uri('sqlite:///{made_store}/mlflow.db')\n"
        "mlflow.pyfunc.load_model('models:/mmrec_ranker@champion')\n"
        "assert 'mmrec_lib' not in sys.modules\n"
        "import mmrec_lib.lakehouse.store as store\n"
        "print(store.__file__)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split()[-1] == str(PROJECT / "mmrec_lib" / "lakehouse" / "store.py")


@pytest.mark.parametrize("k", [1, 7])
def test_the_champion_is_loaded_by_its_alias(made_store: Path, k: int) -> None:
    import mlflow

    assert open_registry(made_store).by_alias(CHAMPION) is not None  # sets the address
    model = mlflow.pyfunc.load_model("models:/mmrec_ranker@champion")
    assert [len(items) for items in model.predict({"item_ids": [["i00"], []]}, params={"k": k})["item_ids"]] == [k, k]
    schema = model.metadata.get_input_schema()
    assert (schema.required_input_names(), schema.optional_input_names()) == (["item_ids"], OPTIONAL)
    assert [(param.name, param.default) for param in model.metadata.get_params_schema().params] == [("k", 10)]
