from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrec_lib.errors import MachineError
from mmrec_lib.ingest.config import MediaConfig
from mmrec_lib.media import child as child_module
from mmrec_lib.media.audio import decode_audio
from mmrec_lib.media.child import DECODERS, DecoderChild
from mmrec_lib.media.confinement import decoder_environment
from mmrec_lib.media.decoder_limits import DecoderLimits
from mmrec_lib.media.errors import RETRYABLE_REASONS, MediaError
from mmrec_lib.media.images import decode_image
from mmrec_lib.media.probe import MediaInfo, probe
from tests.unit.encoders.tiny_models import sound_bytes
from tests.unit.media import nasty_decoders as nasty

NASTY = tuple(
    f"{function.__module__}:{name}"
    for name, function in vars(nasty).items()
    if callable(function) and function.__module__ == nasty.__name__
)


def image() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def child() -> Iterator[DecoderChild]:
    with DecoderChild(DecoderLimits(timeout_seconds=30.0, memory_bytes=2**29), [*DECODERS, *NASTY]) as running:
        yield running


def reason_of(child: DecoderChild, function: Callable[[bytes], object]) -> str:
    with pytest.raises(MediaError) as caught:
        child.call(function, b"bytes")
    return caught.value.reason


def test_results_are_those_of_the_function(child: DecoderChild) -> None:
    assert np.array_equal(child.call(decode_image, image()), decode_image(image()))
    sound = sound_bytes(0.1)
    assert np.array_equal(child.call(decode_audio, sound, max_seconds=1.0), decode_audio(sound))
    assert child.call(probe, image(), "image") == MediaInfo("image", "image/png", 6, 8)


@pytest.mark.parametrize("seconds", [None, 1.5, float("inf")])
@pytest.mark.parametrize("with_sound", [True, False])
def test_dataclasses_of_arrays_come_back_whole(child: DecoderChild, seconds: float | None, with_sound: bool) -> None:
    got = child.call(nasty.clip, bytes(range(12)), seconds, with_sound=with_sound)
    expected = nasty.clip(bytes(range(12)), seconds, with_sound)
    assert (got.name, got.seconds, got.labels) == (expected.name, expected.seconds, expected.labels)
    assert [frame.number for frame in got.frames] == [0, 1]
    for mine, theirs in zip(got.frames, expected.frames, strict=True):
        assert np.array_equal(mine.pixels, theirs.pixels) and mine.pixels.dtype == np.uint8
    assert (got.sound is None) == (not with_sound)
    if got.sound is not None:
        assert got.sound.dtype == np.float32 and got.sound.flags.writeable and got.sound.tolist() == [0, 1, 2]


def test_errors_of_media_pass_through(child: DecoderChild) -> None:
    with pytest.raises(MediaError) as caught:
        child.call(nasty.refuse, b"123")
    assert str(caught.value) == "media_empty: 3 bytes are nothing"
    with pytest.raises(MediaError) as caught:
        child.call(probe, image(), "image", max_pixels=10)
    assert caught.value.reason == "media_oversized"


@pytest.mark.parametrize(
    "function",
    [nasty.segfault, nasty.killed, nasty.leave, nasty.garbage, nasty.fail, nasty.mistyped, nasty.unspeakable],
)
def test_a_decoder_that_crashes_costs_one_medium(child: DecoderChild, function: Callable[[bytes], int]) -> None:
    assert reason_of(child, function) == "media_decoder_crashed"
    assert child.call(probe, image(), "image").mime == "image/png"


@pytest.mark.slow
@pytest.mark.parametrize("function", [nasty.hang, nasty.stop, nasty.hang_with_offspring])
def test_a_decoder_that_hangs_costs_one_medium_and_its_time(function: Callable[[bytes], int]) -> None:
    with DecoderChild(DecoderLimits(timeout_seconds=1.0), NASTY) as child:
        child.call(nasty.process_id, b"")
        start = time.monotonic()
        assert reason_of(child, function) == "media_decoder_timeout"
        assert time.monotonic() - start < 15
        assert child.call(nasty.process_id, b"")


def test_a_decoder_that_eats_memory_is_refused_it(child: DecoderChild) -> None:
    assert reason_of(child, nasty.eat) == "media_oversized"
    assert child.call(probe, image(), "image").mime == "image/png"


def test_what_a_library_prints_is_no_answer(child: DecoderChild) -> None:
    assert child.call(nasty.chatter, b"four") == 4


def test_an_answer_that_a_decoder_forges_is_not_the_next_medium_s(child: DecoderChild) -> None:
    assert reason_of(child, nasty.forged) == "media_decoder_crashed"
    assert child.call(nasty.chatter, b"four") == 4


def test_the_child_is_kept_between_media_and_ends_with_its_parent(child: DecoderChild) -> None:
    with DecoderChild(functions=NASTY) as own:
        first = own.call(nasty.process_id, b"")
        with pytest.raises(MediaError):
            own.call(nasty.refuse, b"")
        assert own.call(nasty.process_id, b"") == first
    with pytest.raises(ProcessLookupError):
        nasty.os.kill(first, 0)


def test_the_child_imports_neither_torch_nor_spark(child: DecoderChild) -> None:
    child.call(probe, image(), "image")
    found = {name.partition(".")[0] for name in child.call(nasty.modules, b"")}
    assert "PIL" in found
    assert found.isdisjoint({"torch", "pyspark", "transformers", "pandas", "pydantic"})


def test_only_named_functions_are_called(child: DecoderChild) -> None:
    with pytest.raises(ValueError, match="test_media_child"):
        child.call(reason_of, b"")  # type: ignore[arg-type]


def test_a_child_that_cannot_start_is_the_machine_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with DecoderChild() as child, pytest.raises(MachineError, match="ended with code 1"):
        child.call(probe, image(), "image")


def test_a_child_of_the_least_memory_that_may_be_configured_decodes() -> None:
    limits = DecoderLimits(memory_bytes=MediaConfig.model_fields["decoder_memory_bytes"].metadata[0].ge)
    with DecoderChild(limits) as child:
        assert child.call(decode_image, image()).shape == (8, 6, 3)
        assert len(child.call(decode_audio, sound_bytes(1.0, 48_000, "OGG"))) > 15_000


def test_a_function_that_cannot_be_imported_is_the_machine_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nasty.refuse, "__module__", "no_such_module")
    with (
        DecoderChild(functions=["no_such_module:refuse"]) as child,
        pytest.raises(MachineError, match="No module named 'no_such_module'"),
    ):
        child.call(nasty.refuse, b"")


@pytest.mark.parametrize("name", DECODERS)
def test_every_named_decoder_exists(name: str) -> None:
    module, _, attribute = name.partition(":")
    assert callable(getattr(child_module.import_module(module), attribute))


def test_a_decoder_gets_nothing_of_its_parent_s_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("DATABRICKS_TOKEN", "s3cret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cret@proxy")
    with DecoderChild(functions=NASTY) as child:
        found = child.call(nasty.environment, b"")
        assert "s3cret" not in str(found) and {"PATH", "PYTHONPATH"} <= set(found)
        assert set(found) <= {*decoder_environment(os.environ), "LC_CTYPE"}
        assert "s3cret" not in child.call(nasty.spy, b"")


def test_a_decoder_inherits_no_open_file(child: DecoderChild, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with DecoderChild(functions=NASTY) as own:
            assert not any("secret" in name for name in own.call(nasty.open_files, b""))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_a_decoder_reaches_no_network_gains_no_rights_and_writes_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("content")
    with socket.create_server(("127.0.0.1", 0)) as server, DecoderChild(functions=NASTY) as child:
        address = f"127.0.0.1:{server.getsockname()[1]}".encode()
        assert nasty.reach(address) == "connected"
        assert child.call(nasty.privileges, b"").split() == ["NoNewPrivs:", "1"]
        if not (missing := not_confined_here()):
            assert child.call(nasty.reach, address) in ("OSError", "PermissionError")
            assert child.call(nasty.write, str(tmp_path / "file").encode()) == "PermissionError"
            assert child.call(nasty.cut_short, bytes(kept)) == "PermissionError"
            assert kept.read_text() == "content"
            assert child.call(nasty.spy, b"") == "PermissionError"
    assert not missing or all(": " in what for what in missing)


def not_confined_here() -> list[str]:
    """What this system does not let a child do without."""
    code = "from mmrec_lib.media.confinement import confine; print(*confine(), sep='\\n', end='')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def test_what_a_system_does_not_confine_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    child_module._tell_of.cache_clear()
    for _ in range(2):
        child_module._tell_of(("the network is that of its parent: no namespace",))
    child_module._tell_of(())
    assert [record.getMessage() for record in caplog.records] == [
        "decoders of media are confined less than they could be: the network is that of its parent: no namespace"
    ]


@pytest.mark.parametrize("function", [nasty.unlucky_once, nasty.slow_once])
def test_bad_luck_is_tried_once_more_in_a_fresh_child(function: Callable[[bytes], int], tmp_path: Path) -> None:
    luck = tmp_path / "luck"
    os.mkfifo(luck)
    # Held open for reading and writing, so that each try takes one sign.
    with luck.open("r+b", buffering=0) as signs, DecoderChild(DecoderLimits(timeout_seconds=1.0), NASTY) as child:
        signs.write(b"-+")
        assert child.call(function, str(luck).encode()) == 1
        signs.write(b"--")
        assert reason_of_bytes(child, function, str(luck).encode()) in RETRYABLE_REASONS


def reason_of_bytes(child: DecoderChild, function: Callable[[bytes], object], content: bytes) -> str:
    with pytest.raises(MediaError) as caught:
        child.call(function, content)
    return caught.value.reason
