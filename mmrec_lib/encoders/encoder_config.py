"""The base of the configs of all kinds of encoders; every field declares whether it changes results.

A kind's own config class lies in the light module `config` of its room, `encoders/text/config.py` and so on, and not in
the module of its class: the driver reads configs, and importing torch takes seconds.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from mmrec_lib.errors import ConfigError
from mmrec_lib.section import Section

Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]


class Changes(Enum):
    """Effect of a field of an encoder's config on its revision, given as `Annotated[int, Changes.RESULTS]`.

    Attributes:
        RESULTS: The value changes vectors or texts and is a part of the revision.
        WEIGHTS: The value names a model directory, whose content is a part of the revision.
        SPEED: Results stay equal; no part of the revision.
    """

    RESULTS = "results"
    WEIGHTS = "weights"
    SPEED = "speed"


class EncoderConfig(Section):
    """One encoder or extractor; each kind has a subclass.

    Attributes:
        id: Name; set from the key under `models.encoders`.
        kind: Kind of encoder, the default of the subclass.
    """

    id: str = ""
    kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field that does not declare its effect on the revision: forgetting one would mix results."""
        undeclared = [
            name
            for name, field in cls.model_fields.items()
            if name not in EncoderConfig.model_fields and sum(isinstance(m, Changes) for m in field.metadata) != 1
        ]
        if undeclared:
            raise TypeError(
                f"{cls.__name__}: each field needs one of {', '.join(map(str, Changes))} in its annotation, "
                f"got none or several for {', '.join(undeclared)}."
            )

    @model_validator(mode="before")
    @classmethod
    def _refuse_foreign_keys(cls, values: object) -> object:
        """Refuse keys that encoders of the kind do not read, so that nobody believes that they do something."""
        if not isinstance(values, Mapping):
            return values
        keys = sorted(set(cls.model_fields) - {"id", "kind"})
        foreign = [str(key) for key in values if key not in cls.model_fields]
        if foreign:
            close = {key: difflib.get_close_matches(key, keys, n=1) for key in foreign}
            hints = [f" Did you mean `{found[0]}` instead of `{key}`?" for key, found in close.items() if found]
            raise ConfigError(
                f"Encoder `{values.get('id', '')}`: keys that the kind {cls.kind_name()} reads are needed "
                f"({', '.join(keys)}), got {', '.join(foreign)}.{''.join(hints)}"
            )
        return values

    @classmethod
    def kind_name(cls) -> str:
        """Name of the kind."""
        return str(cls.model_fields["kind"].default)

    @classmethod
    def fields_that_change(cls, changes: Changes) -> list[str]:
        """Names of the fields that declare an effect on the revision."""
        return [name for name, field in cls.model_fields.items() if changes in field.metadata]

    def directories(self) -> dict[str, str]:
        """Model directories by the fields that name them, relative to `models.root` or absolute."""
        named = {name: getattr(self, name) for name in self.fields_that_change(Changes.WEIGHTS)}
        return {name: folder for name, folder in named.items() if folder is not None}

    def with_id(self, name: str) -> Self:
        """The same encoder under a name."""
        return self.model_copy(update={"id": name})


class DirectoryConfig(EncoderConfig):
    """An encoder with a model directory of its own.

    Attributes:
        directory: Folder in transformers format, relative to `models.root` or absolute; None means the name.
    """

    directory: Annotated[str | None, Changes.WEIGHTS] = None

    def directories(self) -> dict[str, str]:
        """Model directories by the fields that name them, relative to `models.root` or absolute."""
        return {**super().directories(), "directory": self.directory or self.id}
