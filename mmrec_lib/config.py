"""Configuration: YAML layers merged by OmegaConf, checked by Pydantic; unknown keys are errors."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

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
    """Known keys at a path of a configuration; keys of mappings, places in lists and tags of unions fit any part."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [inner for annotation in annotations for inner in _at(annotation, part)]
    models = [found for annotation in annotations for found in _models(annotation)]
    return sorted({name for found in models for name in found.model_fields})


def _at(annotation: Any, part: str) -> list[Any]:
    """Annotations of what lies at one part of a path."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(part)
        return [] if field is None else [field.annotation]
    if origin is dict:
        return [arguments[1]]
    if origin in (list, tuple):
        return [inner for inner in arguments if inner is not Ellipsis]
    if tagged := [found for found in _models(annotation) if _is_tagged(found, part)]:
        return tagged
    return [inner for argument in arguments for inner in _at(argument, part)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Classes that an annotation may be, those inside mappings and lists left out."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (dict, list, tuple):
        return []
    return [found for argument in get_args(annotation) for found in _models(argument)]


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    """Tell whether a class of a union is the one that a tag selects."""
    fields = model.model_fields.values()
    return any(get_origin(field.annotation) is Literal and get_args(field.annotation) == (tag,) for field in fields)
