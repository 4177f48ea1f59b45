from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mmrec_lib.lakehouse.kept_media import read_kept

CONTENT = b"the bytes that were accepted"


def reference(path: Path, content: bytes = CONTENT) -> str:
    return f"{path}#sha256={hashlib.sha256(content).hexdigest()}&bytes={len(content)}"


def test_the_accepted_bytes_are_read_by_path_and_by_uri(tmp_path: Path) -> None:
    path = tmp_path / "a #sha256=x.png"
    path.write_bytes(CONTENT)
    assert read_kept(reference(path)) == read_kept(str(path)) == CONTENT
    (tmp_path / "b.png").write_bytes(CONTENT)
    assert read_kept(reference(tmp_path / "b.png").replace(str(tmp_path), tmp_path.as_uri())) == CONTENT


@pytest.mark.parametrize("content", [CONTENT + b"!", CONTENT[:-1] + b"!", b""])
def test_other_bytes_are_not_given_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert read_kept(reference(tmp_path / "a.png")) is None


def test_a_link_or_a_pipe_in_its_place_is_not_followed_and_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    (tmp_path / "link.png").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("link.png", "pipe.png", "gone.png"):
        assert read_kept(reference(tmp_path / name)) is None
