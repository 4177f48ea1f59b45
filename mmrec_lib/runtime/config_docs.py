"""The configuration as Markdown: `python -m mmrec_lib.runtime.config_docs` writes docs/configuration.md.

Everything comes from the classes of the sections: keys, types, defaults and bounds from their fields, meanings from
the field's description or else from the `Attributes:` part of the docstring of the class that declares it.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mmrec_lib.contracts.docs import run_generator
from mmrec_lib.runtime.settings import Settings

PAGE = Path("docs/configuration.md")
NAME = "<name>"
"""Stands in a key for what the user names, such as an event type or an encoder."""

INTRODUCTION = """<!-- made by `python -m mmrec_lib.runtime.config_docs`, do not edit -->
# Configuration

Layers, later ones winning: defaults in the code, `conf/base/*.yaml`, `conf/env/<env>/*.yaml`, `--conf` files, `--set`.
A key that stands twice in one layer is an error, and so is an unknown key; the message names the nearest known one. To
see all keys with the values of a run, secrets masked: `.venv/bin/python jobs/run_pipeline.py --print-config`.

The same key in a file and on the command line:

```yaml
# my.yaml, used with --conf my.yaml
scoring:
  k: 20
```

```
.venv/bin/python jobs/score_topk.py --set scoring.k=20 training.seed=1
make demo SET="scoring.k=20 training.seed=1"
```

Secrets do not belong into `store.data`, `store.out`, `store.staging` and `store.report_folder`: these are kept in
tables and models, and a URI with a password, key or token in it is refused. Give credentials by the environment
(`AWS_ACCESS_KEY_ID`, `AZURE_STORAGE_KEY`, `GOOGLE_APPLICATION_CREDENTIALS`) or in `spark.conf`; in `--print-config` and
messages they are masked.

Each job reads only the sections that it declares, so a changed key runs only the jobs that read its section again. The
tables below give the defaults of the code. What the files of `conf/` set otherwise stands there, with a comment."""

_ATTRIBUTE = re.compile(r"^(\w+): (.*)$")


@dataclass(frozen=True)
class Key:
    """One key of the configuration, as the page shows it.

    Attributes:
        path: Whole key; `NAME` stands for what the user names.
        type: Type as a reader of YAML knows it.
        default: Default as JSON; `required` where there is none.
        bounds: What the value must be, besides its type.
        meaning: What it decides.
    """

    path: str
    type: str
    default: str
    bounds: str
    meaning: str


@dataclass(frozen=True)
class Part:
    """A class of the configuration and where it stands.

    Attributes:
        path: Key of the section; a heading of the page.
        variant: What selects the class among the kinds of a union, such as `kind: text`; empty without a union.
        summary: First sentence of the class's docstring.
        keys: Its keys, those of nested sections among them.
        entries: Entries of a mapping that are there by default, by name, with what they set.
    """

    path: str
    variant: str
    summary: str
    keys: tuple[Key, ...]
    entries: Mapping[str, Any]


def config_page(root: type[BaseModel] = Settings) -> str:
    """The page: an index of the sections, then each with its keys."""
    sections = [(name, list(parts_of(name, field))) for name, field in root.model_fields.items()]
    index = ["| section | decides | class |", "|---|---|---|"]
    index += [
        f"| [`{name}`](#{name}) | {_cell(parts[0].summary)} | {_class_link(root.model_fields[name])} |"
        for name, parts in sections
    ]
    page = [INTRODUCTION, "\n".join(index)]
    for name, parts in sections:
        page.append(f"## {name}")
        for part in parts:
            title = ", ".join(text for text in (part.path.removesuffix(f".{NAME}"), part.variant) if text)
            if title != name:
                page.append(f"### {title}")
            page.append(part.summary)
            if part.keys:
                page.append(_table(part.keys))
            if part.entries:
                page += ["By default there are:", f"```yaml\n{_yaml(part.path, part.entries)}\n```"]
    return "\n\n".join(page) + "\n"


def config_keys(root: type[BaseModel] = Settings) -> set[str]:
    """Every key of the configuration that holds a value; `NAME` stands for what the user names."""
    parts = [part for name, field in root.model_fields.items() for part in parts_of(name, field)]
    return {key.path for part in parts for key in part.keys}


def parts_of(path: str, field: FieldInfo, default: object = None) -> Iterator[Part]:
    """The classes below a key: the section itself, then mappings of sections and kinds of unions inside it.

    Args:
        path: The key.
        field: Its field.
        default: The value that the key has by default; None takes that of the field.
    """
    default = _default(field) if default is None else default
    models = _models(field.annotation)
    is_mapping = _is_mapping(field.annotation)
    for number, model in enumerate(models):
        instance = default if isinstance(default, model) and not is_mapping else None
        keys: list[Key] = []
        later: list[Part] = []
        inner_path = f"{path}.{NAME}" if is_mapping else path
        _collect(inner_path, model, instance, keys, later)
        entries = _entries(default) if is_mapping and number == 0 else {}
        variant = _variant(model) if len(models) > 1 else ""
        yield Part(inner_path if is_mapping else path, variant, _summary(model), tuple(keys), entries)
        yield from later


def _collect(path: str, model: type[BaseModel], instance: BaseModel | None, keys: list[Key], later: list[Part]) -> None:
    meanings = meanings_of(model)
    for name, field in model.model_fields.items():
        key = f"{path}.{name}"
        default = getattr(instance, name) if instance is not None else _default(field)
        inner = _models(field.annotation)
        if not inner:
            keys.append(Key(key, _type(field.annotation), _shown(field, default), bounds_of(field), meanings[name]))
        elif len(inner) == 1 and not _is_mapping(field.annotation) and isinstance(default, BaseModel | None):
            _collect(key, inner[0], default, keys, later)
        else:
            later += parts_of(key, field, default)


def meanings_of(model: type[BaseModel]) -> dict[str, str]:
    """Meaning of each field of a class, those that its bases declare among them; empty where nothing is said."""
    meanings = dict.fromkeys(model.model_fields, "")
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel):
            meanings |= {name: text for name, text in _attributes(base).items() if name in meanings}
    meanings |= {name: field.description for name, field in model.model_fields.items() if field.description}
    return {name: re.sub(r"\bNone\b", "null", text) for name, text in meanings.items()}


def _attributes(model: type) -> dict[str, str]:
    """The `Attributes:` part of a Google docstring: name → text in one line."""
    lines = inspect.cleandoc(vars(model).get("__doc__") or "").splitlines()
    if "Attributes:" not in lines:
        return {}
    found: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Attributes:") + 1 :]:
        if line and not line.startswith(" "):
            break
        start = _ATTRIBUTE.match(line[4:]) if len(line) - len(line.lstrip()) == 4 else None
        if start:
            name, found[start[1]] = start[1], start[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found


def _summary(model: type) -> str:
    """The docstring's first paragraph and whatever stands before its parts, in one line."""
    text = re.split(r"\n(?:Attributes|Args|Raises):\n", inspect.cleandoc(vars(model).get("__doc__") or ""))[0]
    return " ".join(text.split())


def bounds_of(field: FieldInfo) -> str:
    """Bounds of a field's value besides its type, from its constraints."""
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = []
    for rule in (*field.metadata, *(m for a in _annotations(field.annotation) for m in getattr(a, "__metadata__", ()))):
        for name, sign in words.items():
            if getattr(rule, name, None) is not None:
                found.append(f"{sign} {getattr(rule, name)}")
        if isinstance(rule, annotated_types.MinLen):
            found.append(f"length ≥ {rule.min_length}")
        if isinstance(rule, annotated_types.MaxLen):
            found.append(f"length ≤ {rule.max_length}")
        if getattr(rule, "pattern", None):
            found.append(f"`{rule.pattern}`")
    return ", ".join(found)


def _annotations(annotation: Any) -> Iterator[Any]:
    """An annotation and all that it is made of."""
    yield annotation
    for inner in get_args(annotation):
        if not isinstance(inner, str):
            yield from _annotations(inner)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The configuration classes that an annotation is made of, in their order."""
    found = [a for a in _annotations(annotation) if inspect.isclass(a) and issubclass(a, BaseModel)]
    return list(dict.fromkeys(found))


def _class_link(field: FieldInfo) -> str:
    """Link from the page to the file of a section's class."""
    model = _models(field.annotation)[0]
    file = model.__module__.replace(".", "/") + ".py"
    return f"[{model.__name__}](../{file})"


def _is_mapping(annotation: Any) -> bool:
    return any(inspect.isclass(get_origin(a)) and issubclass(get_origin(a), Mapping) for a in _annotations(annotation))


def _variant(model: type[BaseModel]) -> str:
    """Tags of a class of a union: its fields that have one possible value."""
    return ", ".join(
        f"{name}: {get_args(field.annotation)[0]}"
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    )


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _entries(default: object) -> dict[str, Any]:
    """Settings of a mapping's default entries."""
    if not isinstance(default, Mapping):
        return {}
    return {
        name: {
            **{n: v for n, f in type(entry).model_fields.items() if (v := _only_value(f)) is not None},
            **{n: v for n, v in entry.model_dump(mode="json", exclude_defaults=True).items() if n != "id"},
        }
        for name, entry in default.items()
        if isinstance(entry, BaseModel)
    }


def _only_value(field: FieldInfo) -> Any:
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return values[0] if len(values) == 1 else None


def _shown(field: FieldInfo, default: object) -> str:
    if field.is_required():
        return "required"
    text = json.dumps(_plain(default), ensure_ascii=False)
    return f"`{text}`" if text not in ('""', "[]", "{}") else "empty"


def _plain(value: object) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _type(annotation: Any) -> str:
    """A type as a reader of YAML knows it."""
    names = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(one) for one in inner))
    if origin in (tuple, list, frozenset, set):
        return f"list of {_type(inner[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"mapping of {_type(inner[1])}"
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _table(keys: Sequence[Key]) -> str:
    rows = ["| key | type | default | must be | meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| `{k.path}` | {_cell(k.type)} | {_cell(k.default)} | {_cell(k.bounds)} | {_cell(k.meaning)} |" for k in keys
    ]
    return "\n".join(rows)


def _yaml(path: str, entries: Mapping[str, Any]) -> str:
    lines = []
    parents = path.split(".")[:-1]
    for depth, parent in enumerate(parents):
        lines.append(f"{'  ' * depth}{parent}:")
    for name, values in entries.items():
        inner = ", ".join(f"{key}: {json.dumps(value)}" for key, value in values.items())
        lines.append(f"{'  ' * len(parents)}{name}: {{{inner}}}")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page of the configuration; returns the exit status."""
    return run_generator("mmrec_lib.runtime.config_docs", PAGE, config_page, argv)


if __name__ == "__main__":
    sys.exit(main())
