"""The rules of a run: those of the configuration and those of its rules file."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import ValidationError

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.config import RuleSet, ShowingConfig


def all_rules(config: ShowingConfig) -> RuleSet:
    """Rules and segments of the configuration and of its file.

    Raises:
        ShowingError: When the file cannot be read or is wrong, a name stands twice, a rule names a segment that
            nobody declares, or no rule names one that is declared.
    """
    from_file = RuleSet() if config.rules_file is None else read_rules_file(config.rules_file)
    if twice := sorted(set(config.segments) & set(from_file.segments)):
        raise ShowingError(
            f"segment `{twice[0]}`: each name once is needed, but the file {config.rules_file} has it too"
        )
    merged: dict[str, Any] = {
        "segments": {**config.segments, **from_file.segments},
        "rules": (*config.rules, *from_file.rules),
    }
    try:
        rules = RuleSet.model_validate(merged)
    except ValidationError as error:
        raise ShowingError(_explained(error)) from error
    for rule in rules.rules:
        if rule.segment is not None and rule.segment not in rules.segments:
            raise ShowingError(
                f"rule `{rule.name}`: a declared segment is needed, got `{rule.segment}`. Declared are: "
                f"{', '.join(sorted(rules.segments)) or 'none'}."
            )
    if unused := sorted(set(rules.segments) - {rule.segment for rule in rules.rules}):
        raise ShowingError(
            f"segment `{unused[0]}`: a rule that names it is needed, got none. Give a rule `segment: {unused[0]}`, or "
            "leave the segment out."
        )
    return rules


def asks_items(config: ShowingConfig) -> bool:
    """Tell whether rules, markets or age limits look at the items at all.

    Raises:
        ShowingError: See `all_rules`.
    """
    return bool(config.market_attribute or config.age_rating_attribute or all_rules(config).rules)


def active_rules(config: ShowingConfig, as_of: date) -> RuleSet:
    """Rules that hold on a day, with the segments that they name.

    Raises:
        ShowingError: See `all_rules`; rules of other days are checked for their form too.
    """
    everything = all_rules(config)
    active = tuple(rule for rule in everything.rules if rule.holds_on(as_of))
    named = {rule.segment for rule in active}
    segments = {name: conditions for name, conditions in everything.segments.items() if name in named}
    return RuleSet(segments=segments, rules=active)


def read_rules_file(path: str) -> RuleSet:
    """Rules and segments of a YAML file.

    Raises:
        ShowingError: When it cannot be read, is no YAML, or a rule is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ShowingError(
            f"rules file {path}: a readable YAML file is needed, but {_first_line(error)}. See showing.rules_file."
        ) from error
    try:
        values = OmegaConf.to_container(OmegaConf.create(text or "{}"), resolve=True)
    except Exception as error:  # PyYAML and OmegaConf raise many kinds, all of them about this file
        raise ShowingError(f"rules file {path}: it is not valid YAML: {_first_line(error)}") from error
    try:
        return RuleSet.model_validate(values)
    except ValidationError as error:
        raise ShowingError(f"rules file {path}: {_explained(error)}") from error


def rules_version(config: ShowingConfig) -> str:
    """Hash of the content of the rules file, for the versions of what a job reads outside of tables; empty without one.

    Raises:
        ShowingError: When the file cannot be read.
    """
    if config.rules_file is None:
        return ""
    try:
        return hashlib.sha256(Path(config.rules_file).read_bytes()).hexdigest()
    except OSError as error:
        raise ShowingError(
            f"rules file {config.rules_file}: a readable file is needed, but {_first_line(error)}"
        ) from error


def user_attributes_of(config: ShowingConfig, as_of: date) -> tuple[str, ...]:
    """Names of the attributes of users that the rules of a day look at, sorted; empty by default.

    Raises:
        ShowingError: See `all_rules`.
    """
    rules = active_rules(config, as_of)
    names = {condition.attribute for conditions in rules.segments.values() for condition in conditions}
    if config.market_attribute is not None:
        names.add(config.market_attribute)
    if config.age_rating_attribute is not None:
        names.add(config.age_attribute)
    return tuple(sorted(names))


def _explained(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"field `{place}` is unknown")
        else:
            said = problem["msg"].removeprefix("Value error, ")
            parts.append(f"{f'field `{place}`: ' if place else ''}{said}")
    return "; ".join(parts) + "."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
