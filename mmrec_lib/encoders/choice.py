"""One encoder for all texts of a field, or one for each language."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, RootModel, field_validator, model_validator

DEFAULT = "default"


class EncoderChoice(RootModel[dict[str, str]]):
    """Which encoder a text goes to, by its language.

    Written as a name, or as a mapping from ISO 639-1 codes to names with a `default` for the other languages and for
    texts whose language cannot be told: `{default: all-minilm-l6-v2, de: my-german, ja: my-japanese}`.
    """

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: object) -> object:
        return {DEFAULT: given} if isinstance(given, str) else given

    @field_validator("root")
    @classmethod
    def _is_complete(cls, given: dict[str, str]) -> dict[str, str]:
        if DEFAULT not in given:
            raise ValueError("an encoder for `default` is needed: for languages not named and for texts too short")
        wrong = [code for code in given if code != DEFAULT and not _is_code(code)]
        if wrong:
            raise ValueError(f"ISO 639-1 codes of two small letters are needed beside `default`, got {wrong[0]!r}")
        return given

    @property
    def default(self) -> str:
        """Encoder of languages that are not named and of texts whose language cannot be told."""
        return self.root[DEFAULT]

    @property
    def languages(self) -> Mapping[str, str]:
        """Encoder of each language that has one of its own."""
        return {code: name for code, name in self.root.items() if code != DEFAULT and name != self.default}

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of all encoders, each once, the default first."""
        return tuple(dict.fromkeys([self.default, *self.root.values()]))

    def of(self, language: str | None) -> str:
        """The encoder of a language; None means that it cannot be told."""
        return self.languages.get(language, self.default) if language is not None else self.default


def _is_code(code: str) -> bool:
    return len(code) == 2 and code.isascii() and code.isalpha() and code.islower()
