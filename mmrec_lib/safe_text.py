"""Text on its way to people, logs and files: secrets masked, control characters made visible.

Names of files, values of records and texts of other libraries' errors may hold both. Every message that mmrec raises,
logs or prints goes through here, so that no caller has to think of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
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
    # scheme://user:password@host; a password may hold slashes, a port with a path behind it is none.
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

# Characters that move the cursor, hide text or reverse it; tabs and line ends are decided by the caller.
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
    """True when a URI carries a password, a token or a signature."""
    return any(pattern.sub(replacement, uri) != uri for pattern, replacement in _IN_URI)


def is_secret_name(name: str) -> bool:
    """True when a configuration key, such as `fs.s3a.secret.key`, names a secret."""
    return any(word.lower() in _SECRET_WORDS for word in _WORD.findall(name))


def mask_config(values: Any, name: str = "") -> Any:
    """Configuration values for people: texts under a secret name, and secrets inside any text, are masked.

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
    if isinstance(values, str):
        return MASK if values and is_secret_name(name) else mask_secrets(values)
    return values


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""Text that no terminal obeys: escape sequences, control and direction characters as `\x1b`, `\u202e`.

    Args:
        text: Anything.
        keep_lines: Leave line ends and tabs, for traces and pages of text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_harmless(c, keep_lines) else _escaped(c) for c in text)


def for_people(text: object, *, keep_lines: bool = False) -> str:
    """A message as it may be shown: `printable`, secrets masked."""
    return printable(mask_secrets(str(text)), keep_lines=keep_lines)


def _is_harmless(character: str, keep_lines: bool) -> bool:
    if character in _KEPT:
        return keep_lines
    return character in _JOINERS or unicodedata.category(character) not in _HIDDEN


def _escaped(character: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    code = ord(character)
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
