"""Text on its way to people, logs, files and pages: secrets masked, control characters made visible or left out.

Names of files, values of records and texts of other libraries' errors may hold both. Every message that mmrec raises,
logs or prints goes through here, and every text of a report, so that no caller has to think of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MASK = "***"

# Words of a name that say that its value is a secret: `fs.s3a.secret.key`, `accountKey`, `hf_token`.
_SECRET_WORDS = {"secret", "secrets", "password", "passwd", "pwd", "passphrase", "token", "key", "credential"} | {
    "credentials", "sas", "apikey", "accesskey", "secretkey", "accountkey", "sharedaccesskey", "sig", "signature",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NAMED = (
    r"[\w.\-]*(?:secret|passw(?:or)?d|passphrase|api[_\-.]?key|access[_\-.]?key|account[_\-.]?key|private[_\-.]?key"
    r"|shared[_\-.]?access[_\-.]?(?:key|signature)|auth[_\-.]?token|access[_\-.]?token|session[_\-.]?token"
    r"|security[_\-.]?token|credential)[\w.\-]*"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s'\",;&<>}\])]+)"
_MASKED: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host; a password may hold slashes, a port with a path after it is none.
    (re.compile(r"(\b[a-z][a-z0-9+.\-]*:/{2}[^\s/@:'\"]*):(?!\d{1,5}/)[^\s@'\"]+@", re.IGNORECASE), rf"\1:{MASK}@"),
    # https://token@host
    (re.compile(r"(\bhttps?://)[^\s/@:'\"]+@", re.IGNORECASE), rf"\1{MASK}@"),
    # ?sig=…&token=…
    (
        re.compile(
            r"([?&;](?:sig|signature|token|key|api_?key|pwd|password|secret|sas|x-(?:amz|goog)-[a-z\-]+"
            rf"|{_NAMED})=)[^&\s'\"#;]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # name=value, name: value, "name": "value"
    (re.compile(rf"(\b{_NAMED}['\"]?\s*[=:]\s*){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(rf"(\b(?:token|pwd|sig|sas)['\"]?=\s*){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bAuthorization['\"]?\s*[=:]\s*['\"]?(?:Bearer|Basic)\s+)[^\s'\"]+", re.IGNORECASE), rf"\1{MASK}"),
)
_IN_URI = _MASKED[:3]

# Categories of characters that move the cursor, hide text or reverse it; tabs and line ends are decided by the caller.
_KEPT = "\n\t"
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co"}
# Joins letters and emoji of real names.
_JOINERS = "\u200c\u200d\ufe0f"


def mask_secrets(text: str) -> str:
    """Text with `***` in place of passwords in URIs, signed query parameters and values of secret names."""
    for pattern, replacement in _MASKED:
        text = pattern.sub(replacement, text)
    return text


def holds_secret(uri: str) -> bool:
    """Tell if a URI carries a password, a token or a signature."""
    return any(pattern.sub(replacement, uri) != uri for pattern, replacement in _IN_URI)


def is_secret_name(name: str) -> bool:
    """Tell if a configuration key, such as `fs.s3a.secret.key`, names a secret."""
    return any(word.lower() in _SECRET_WORDS for word in _WORD.findall(name))


def mask_config(values: Any, name: str = "") -> Any:
    """Configuration values for people: all values under a secret name, and secrets inside any text, are masked.

    Args:
        values: Mappings, sequences and scalars.
        name: Key under which they stand.
    """
    if isinstance(values, Mapping):
        return {
            key: mask_config(value, f"{name}.{key}" if is_secret_name(name) else str(key))
            for key, value in values.items()
        }
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return [mask_config(value, name) for value in values]
    # A password of digits is a number in YAML.
    if is_secret_name(name) and values not in (None, "") and not isinstance(values, bool):
        return MASK
    return mask_secrets(values) if isinstance(values, str) else values


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""Text that no terminal obeys: escape sequences, control and direction characters as `\x1b`, `\u202e`.

    Args:
        text: Anything.
        keep_lines: Leave line ends and tabs, for traces and pages of text.
    """
    return _without_harm(text, _KEPT if keep_lines else "", _escaped)


def page_text(text: str) -> str:
    """Text for a page: what hides, controls or turns text around is left out, half a character becomes U+FFFD.

    White space stays white space.
    """
    return _without_harm(text, _KEPT, _on_page)


def for_people(text: object, *, keep_lines: bool = False) -> str:
    """A message as it may be shown: `printable`, secrets masked."""
    return printable(mask_secrets(str(text)), keep_lines=keep_lines)


def _without_harm(text: str, kept: str, replace: Callable[[str], str]) -> str:
    """Text whose harmful characters, but those that are kept, are replaced."""
    if text.isprintable():
        return text
    harmful = {c for c in set(text) if c not in kept and _is_harmful(c)}
    return text.translate({ord(c): replace(c) for c in harmful})


def _is_harmful(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _HIDDEN


def _on_page(character: str) -> str:
    if unicodedata.category(character) == "Cs":
        return "\ufffd"
    return " " if character.isspace() else ""


def _escaped(character: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    code = ord(character)
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
