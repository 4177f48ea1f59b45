"""The bundle as the Databricks CLI would deploy it: files read, a target's variables put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PROJECT

BUNDLE_FILE = PROJECT / "databricks.yml"
RESOURCES = sorted((PROJECT / "resources").glob("*.job.yml"))
# What the CLI knows of itself.
CONTEXT = {
    "bundle.name": "mmrec",
    "bundle.target": "prod",
    "workspace.current_user.userName": "ada@example.com",
    "workspace.file_path": str(PROJECT),
}
_REFERENCE = re.compile(r"\$\{([^}]+)\}")


def read_yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def references(value: Any) -> set[str]:
    """Names of everything that a part of the bundle refers to as `${name}`."""
    if isinstance(value, Mapping):
        return set().union(*(references(inner) for inner in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(references(inner) for inner in value)) if value else set()
    return set(_REFERENCE.findall(value)) if isinstance(value, str) else set()


def variables(target: str, **given: str) -> dict[str, Any]:
    """Values of all variables: given on the command line, else of the target, else the defaults.

    Raises:
        KeyError: When a variable has no value, which the CLI refuses as well.
    """
    bundle = read_yaml(BUNDLE_FILE)
    of_target = bundle["targets"][target].get("variables", {})
    values = {}
    for name, declared in bundle["variables"].items():
        value = given[name] if name in given else of_target[name] if name in of_target else declared["default"]
        values[name] = substituted(value, {})
    return values


def substituted(value: Any, values: Mapping[str, Any]) -> Any:
    """A part of the bundle with its references replaced; a value that is nothing else keeps its type."""
    if isinstance(value, Mapping):
        return {key: substituted(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [substituted(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    known = CONTEXT | {f"var.{name}": of for name, of in values.items()}
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return known[whole[1]]
    return _REFERENCE.sub(lambda found: str(known[found[1]]), value)


def deployed_job(path: Path, target: str, **given: str) -> dict[str, Any]:
    """The job of a resource file as it would be deployed."""
    (job,) = read_yaml(path)["resources"]["jobs"].values()
    return dict(substituted(job, variables(target, **given)))


def command_lines(path: Path, target: str, **given: str) -> dict[str, list[str]]:
    """Command line of each task as a run with default parameters gets it."""
    job = deployed_job(path, target, **given)
    defaults = {f"{{{{job.parameters.{p['name']}}}}}": p["default"] for p in job.get("parameters", ())}
    return {
        task["task_key"]: [defaults.get(argument, argument) for argument in task["spark_python_task"]["parameters"]]
        for task in job["tasks"]
    }
