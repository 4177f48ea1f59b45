"""Configuration: YAML layers merged by OmegaConf, checked by Pydantic; unknown keys are errors."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from mmrec_lib.errors import ConfigError
from mmrec_lib.safe_text import mask_config
from mmrec_lib.section import Section

__all__ = ["Section", "load_config"]


SectionT = TypeVar("SectionT", bound=Section)


def load_config(
    model: type[SectionT], conf_root: Path, env: str, files: Sequence[str] = (), overrides: Sequence[str] = ()
) -> SectionT:
    """Merge the layers base, environment, files and overrides, later ones winning, and check the result.

    Args:
        model: What the merged configuration must be.
        conf_root: Folder with `base/` and `env/<name>/`.
        env: Name of the environment.
        files: Further YAML files.
        overrides: `key.path=value` assignments; values are YAML.

    Raises:
        ConfigError: When a layer is missing or malformed, a key stands twice in one layer, is unknown, or has an
            impossible value.
    """
    environments = sorted(p.name for p in (conf_root / "env").glob("*") if p.is_dir())
    if env not in environments:
        raise ConfigError(
            f"environment {env!r}: there is no folder conf/env/{env}. Known environments: {environments}."
        )
    layers = [_load_layer(conf_root / "base"), _load_layer(conf_root / "env" / env)]
    layers += [_load_file(Path(name)) for name in files]
    for override in overrides:
        key, sign, _ = override.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set {override!r}: the form is key.path=value, such as training.seed=1.")
    try:
        merged = OmegaConf.merge(*layers, OmegaConf.from_dotlist(list(overrides)))
        values = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"configuration: {str(error).splitlines()[0]}") from error
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, model)) from error


def _load_layer(folder: Path) -> Any:
    merged: Any = OmegaConf.create({})
    owner: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        layer = _load_file(path)
        for key in _leaf_keys(OmegaConf.to_container(layer), ""):
            if key in owner:
                raise ConfigError(
                    f"key `{key}` stands twice in {folder.name}: in {owner[key]} and {path.name}. Keep one."
                )
            owner[key] = path.name
        merged = OmegaConf.merge(merged, layer)
    return merged


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"configuration file {path} does not exist.")
    try:
        return OmegaConf.load(path)
    except Exception as error:  # PyYAML and OmegaConf raise many kinds, all of them about this file
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"configuration file {path} is not valid YAML: {said}") from error


def _leaf_keys(value: Any, prefix: str) -> list[str]:
    if not isinstance(value, dict) or not value:
        return [prefix]
    return [
        leaf for key, inner in value.items() for leaf in _leaf_keys(inner, f"{prefix}.{key}" if prefix else str(key))
    ]


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, path[:-1])
            close = difflib.get_close_matches(path[-1], known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known keys here: {', '.join(known)}."
            lines.append(f"config key `{key}` is unknown; {hint}")
        else:
            lines.append(f"config key `{key}`: {problem['msg']}, got {mask_config(problem['input'], key)!r}.")
    return " ".join(lines)


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """Known keys at a path of a configuration; under a mapping the keys are the user's own and any part fits."""
    parts = list(path)
    while parts:
        field = model.model_fields.get(parts.pop(0))
        if field is None:
            return []
        is_mapping = get_origin(field.annotation) is dict
        annotations = [field.annotation, *get_args(field.annotation)]
        inner = next((a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)), None)
        if inner is None:
            return []
        if is_mapping and parts:
            parts.pop(0)
        model = inner
    return sorted(model.model_fields)
