"""Cache of a machine: facts about a model that its workers need not find out again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from mmrec_lib.encoders.weights.directory import machine_cache

_log = logging.getLogger(__name__)

# A dataclass of numbers and strings.
Facts = TypeVar("Facts", bound=Any)


def cached(facts: type[Facts], about: Sequence[object], find_out: Callable[[], Facts]) -> Facts:
    """Facts from the cache, or else found out now and kept in the machine's temporary folder.

    Args:
        facts: Class of what is found out: a dataclass of numbers and strings.
        about: What it depends on; numbers, strings and None.
        find_out: Finds it out.
    """
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    file = machine_cache() / f"{facts.__name__.strip('_').lower()}-{digest}.json"
    try:
        found: Facts = facts(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = find_out()
        part = file.with_name(f".{file.name}-{os.getpid()}")
        try:
            part.write_text(json.dumps(asdict(found)), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            _log.warning("what was found out is not kept in %s: %s", file, error)
    return found
