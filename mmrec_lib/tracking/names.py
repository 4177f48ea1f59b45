"""Names at MLflow's edge: any text as a key, a value or a database address that MLflow accepts, and back.

Keys of metrics, parameters and tags may hold ASCII letters, digits and `_ - . / space`, must read as a relative path in
its shortest form, and have at most 250 characters. `encode_key` writes `@` as `_at_` and every other character outside
this set as `_x<hex>_`; what already looks like an escape has its first underscore escaped, so `decode_key` gives every
name back. A text that is too long is cut and ends in the hash of the whole text; whoever logs it keeps the whole text
as an artifact under that hash (see `Shortened`).
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mmrec_lib.errors import ModelError

MAX_KEY_CHARS = 250
MAX_PARAM_CHARS = 6_000
MAX_DESCRIPTION_CHARS = 5_000
MAX_TAG_CHARS = 5_000  # 8,000 for runs; 5,000 is the least that registries outside Unity Catalog promise

_UNSAFE = r"[^0-9A-Za-z_\-./ ]"
_OF_PATH = r"/|^\.+"
_AT_THE_ENDS = r"^ +| +$"  # some servers trim keys
_ESCAPE = re.compile(r"_at_|_x([0-9a-f]+)_")
_EMPTY = "_empty_"
_CUT = re.compile(r"_sha256_([0-9a-f]{64})$")


@dataclass(frozen=True)
class Shortened:
    """A text within a limit.

    Attributes:
        text: The text, or its start and the hash of the whole.
        digest: The hash when the text was cut, else None: under it the whole text is to be kept.
    """

    text: str
    digest: str | None = None


def shorten(text: str, limit: int) -> Shortened:
    """A text that fits into a number of characters; a longer one is cut and names the hash of the whole."""
    if len(text) <= limit:
        return Shortened(text)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    ending = f"_sha256_{digest}"
    return Shortened(text[: limit - len(ending)] + ending, digest)


def restore(text: str, long_texts: Mapping[str, str]) -> str:
    """The whole text of a shortened one.

    Args:
        text: What `shorten` made.
        long_texts: Whole texts by hash; a text whose hash is not there stays as it is.
    """
    found = _CUT.search(text)
    return long_texts.get(found[1], text) if found else text


def encode_key(name: str) -> str:
    """A name as MLflow takes it for a metric, a parameter or a tag, of any length; see the module and `decode_key`."""
    is_path = name == posixpath.normpath(name) and not name.startswith(("..", "/")) and name != "."
    # Not a path in its shortest form: then its slashes and leading dots are no path at all.
    escaped = "|".join([_UNSAFE, _AT_THE_ENDS, *([] if is_path else [_OF_PATH])])
    # An underscore that what follows it, once encoded, would make the start of an escape.
    looks_like_one = rf"_(?=(?:at|x[0-9a-f]+|sha256|empty)(?:_|{escaped}))"
    pattern = re.compile(f"{looks_like_one}|{escaped}")
    return pattern.sub(lambda found: "".join(_escaped(c) for c in found[0]), name) or _EMPTY


def decode_key(key: str) -> str:
    """The name that `encode_key` encoded."""
    if key == _EMPTY:
        return ""
    return _ESCAPE.sub(lambda found: "@" if found[1] is None else chr(int(found[1], 16)), key)


def sqlite_uri(path: str) -> str:
    """Address of an SQLite file for MLflow; in addresses a `%`, `?` or `#` may mean something else than in a path.

    Raises:
        ModelError: When the installed SQLAlchemy has no address for the path: versions before 2.1 take every `?` as the
            start of options.
    """
    from sqlalchemy.engine import make_url  # comes with MLflow

    escaped = re.sub(r"[%?#]", lambda found: f"%{ord(found[0]):02X}", path)
    for address in (f"sqlite:///{path}", f"sqlite:///{escaped}"):
        if make_url(address).database == path:
            return address
    raise ModelError(f"MLflow's database {path} has no address under this version of SQLAlchemy. Choose another OUT.")


def _escaped(character: str) -> str:
    return "_at_" if character == "@" else f"_x{ord(character):x}_"
