"""The steps behind a network: token vectors → one vector a text. Shape legend as in `text`."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from mmrec_lib.encoders.text.config import Pooling
from mmrec_lib.encoders.text.sentence_layout import SentenceLayout
from mmrec_lib.errors import EncoderError

_ACTIVATIONS: dict[str, type[nn.Module]] = {"Identity": nn.Identity, "Tanh": nn.Tanh}


class SentenceHead(nn.Module):
    """Pooling, then the linear layers of a sentence-transformers directory, in float32.

    Reads hidden states `[B, L, D]` and a mask `[B, L]` whose rows are ones and then zeros, at least one of them;
    gives `[B, D]`.

    Raises:
        EncoderError: When the weights of a layer are missing, pickled or of an unknown kind.
    """

    def __init__(self, layout: SentenceLayout) -> None:
        super().__init__()
        self._pooling = layout.pooling
        self._dense = nn.Sequential(*(_dense(folder) for folder in layout.dense))

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Vectors `[B, D]`, not yet of length 1."""
        pooled_BD = pooled(hidden_BLD.float(), mask_BL, self._pooling)
        for weight in self._dense.parameters():
            pooled_BD = pooled_BD.to(weight.dtype)
        vectors_BD: Tensor = self._dense(pooled_BD)
        return vectors_BD


def pooled(hidden_BLD: Tensor, mask_BL: Tensor, pooling: Pooling) -> Tensor:
    """One vector a row: the mean over its tokens, its first or its last token's."""
    if pooling == "cls":
        return hidden_BLD[:, 0]
    if pooling == "last":
        # A causal model has seen the whole text at its last token.
        last_B11 = (mask_BL.sum(1) - 1).reshape(-1, 1, 1)
        return hidden_BLD.gather(1, last_B11.expand(-1, 1, hidden_BLD.shape[-1])).squeeze(1)
    weight_BL1 = mask_BL.unsqueeze(-1).float()
    return (hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)


def _dense(folder: Path) -> nn.Module:
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = str(settings.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS:
        raise EncoderError(f"Layer `{folder}`: an activation of {', '.join(_ACTIVATIONS)} is needed, got {name}.")
    file = folder / "model.safetensors"
    if not file.is_file():
        raise EncoderError(f"Layer `{folder}`: weights as model.safetensors are needed; pickles are never read.")
    weights = load_file(file)
    layer = nn.Linear(int(settings["in_features"]), int(settings["out_features"]), bias="linear.bias" in weights)
    layer.load_state_dict({name.removeprefix("linear."): weight.float() for name, weight in weights.items()})
    return nn.Sequential(layer, _ACTIVATIONS[name]()).eval()
