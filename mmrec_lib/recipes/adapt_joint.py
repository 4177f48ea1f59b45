"""Joint encoders of texts and images that are trained on behaviour, both towers together; see `Adapter`.

The loss of a step is the sum of two:

- behaviour: contents of items that people turn to together come close, texts to texts, images to images, texts to
  images and images to texts, each as in `Adapter`;
- the items themselves: an item's text and its image find each other among those of the batch, both ways, with the
  temperature that the model was trained with: Radford et al., "Learning Transferable Visual Models From Natural
  Language Supervision" (2021).

What an item lacks takes no part in either.

Shape legend: B contents, T texts and V images of them, P items with both, D dimensions, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array, diags_array
from torch import Tensor, nn

from mmrec_lib.encoders.image.networks import Towers, load_joint, towers_of
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.encoders.weights.loading import load_tokenizer
from mmrec_lib.errors import EncoderError
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapt_image import ImageReader, Images
from mmrec_lib.recipes.adapter import ENCODED_TOGETHER, Adapter, Floats, neighbour_loss, refused
from mmrec_lib.recipes.frozen_layers import FrozenLayers, encoder_layers, modules_after, vision_layers
from mmrec_lib.recipes.tower_texts import TowerTokens

Numbers = npt.NDArray[np.intp]
_TEMPERATURE = ("logit_scale", "logit_bias")


class JointAdapter(Adapter):
    """A CLIP or SigLIP whose towers are trained together; its vectors have length 1.

    The vector of a content is the mean of those of its text and of its image, or the one that it has. Adapters are put
    on the last blocks of both towers, on what stands after them, and on their projections. The temperature stays.
    """

    contents = "items or texts"

    def __init__(self, directory: Path, config: AdaptationConfig, device: str = "cpu") -> None:
        """Load the encoder and put adapters on it.

        Args:
            directory: The encoder as it is.
            config: How it is trained.
            device: What is computed on.

        Raises:
            RecipeError: When the directory is unsafe or holds neither a CLIP nor a SigLIP with its tokenizer, or has
                nothing to adapt.
        """
        torch.manual_seed(config.seed)
        try:
            require_safe(directory)
            preprocessing = ImagePreprocessing.from_directory(directory)
            tokenizer = load_tokenizer(directory)
            model = load_joint(directory, torch.float32)
        except (EncoderError, OSError, ValueError, KeyError) as error:
            raise refused(config, error) from None
        super().__init__(directory, config, model, device)
        towers = towers_of(model)
        frozen: tuple[FrozenLayers | None, FrozenLayers | None] = (None, None)
        if config.rank is None:
            model.requires_grad_(True)
        else:
            of_texts, of_images = encoder_layers(model.text_model), vision_layers(model.vision_model)
            texts, frozen_texts = self.divided(of_texts)
            images, frozen_images = self.divided(of_images)
            after = [*modules_after(towers.texts, of_texts), *modules_after(towers.images, of_images)]
            # torch computes these with the weights of their layers, not with the layers.
            fused = [one for one in model.modules() if isinstance(one, nn.MultiheadAttention)]
            self.adapt_modules([*texts, *images, *after], fused)
            frozen = (frozen_texts, frozen_images)
        for name, weight in model.named_parameters():
            if name in _TEMPERATURE:
                weight.requires_grad_(False)
        model.to(device).eval()
        self._scale = model.logit_scale.detach().exp()
        self._texts = _TextReader(self, TowerTokens(tokenizer, towers, device), frozen[0])
        self._images = ImageReader(self._image_vectors, preprocessing, device, frozen[1])
        self._has_text, self._has_image = np.zeros(0, np.bool_), np.zeros(0, np.bool_)
        self._text_ids, self._image_ids = np.zeros(0, np.int64), np.zeros(0, np.int64)
        try:
            with torch.inference_mode():
                self._dim = int(self._images.of_black().shape[1])
        except (ValueError, TypeError, RuntimeError) as error:
            raise refused(config, error) from None

    @property
    def towers(self) -> Towers:
        """The two networks as they are now: adapters take the place of layers, and layers that of adapters."""
        return towers_of(self.model)

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    def read(self, texts: Sequence[str | None], images: Images) -> None:
        """Take the contents that later calls name by their number; what frozen layers give is kept, if it fits.

        Args:
            texts: Text of each content, None of one without.
            images: Images of as many contents.
        """
        self.model.eval()
        self._texts.read(texts)
        self._images.read(images)
        self._has_text = np.array([one is not None for one in self._texts.tokens], np.bool_)
        self._has_image = images.rows >= 0
        places = dict[str | None, int]()
        self._text_ids = np.array([places.setdefault(text, len(places)) for text in texts], np.int64)
        self._image_ids = images.rows

    def with_both(self, numbers: Sequence[int]) -> Numbers:
        """Those of some contents that have a text and an image that can be read."""
        chosen = np.asarray(numbers, np.intp)
        return chosen[self._has_text[chosen] & self._has_image[chosen]]

    def content_ids(self, numbers: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Numbers of the texts and of the images of contents; equal ones have the same."""
        return self._text_ids[list(numbers)], self._image_ids[list(numbers)]

    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of contents `[B, D]`, of length 1; zeros of one that has neither text nor image."""
        sums_BD = torch.zeros((len(numbers), self.dim), device=self.device)
        for places, vectors_ND in self._of_modalities(np.asarray(numbers, np.intp)):
            sums_BD = sums_BD.index_add(0, torch.from_numpy(places).to(self.device), vectors_ND)
        return nn.functional.normalize(sums_BD, dim=1)

    def encode_both(self, numbers: Sequence[int]) -> tuple[Floats, Floats]:
        """Vectors of the texts and of the images of contents that have both, without training: `[num, D]` each."""
        self.model.eval()
        place = {number: row for row, number in enumerate(numbers)}
        texts, images = (np.zeros((len(numbers), self.dim), np.float32) for _ in range(2))
        with torch.inference_mode():
            for chosen in self.batches(numbers):
                rows = [place[number] for number in chosen]
                texts[rows] = self._texts.vectors(chosen).cpu().numpy()
                images[rows] = self._images.vectors(chosen).cpu().numpy()
        return texts, images

    def batches(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Batches of contents whose texts are of about the same length."""
        order = sorted(numbers, key=lambda number: len(self._texts.tokens[number] or ()))
        return (order[start : start + ENCODED_TOGETHER] for start in range(0, len(order), ENCODED_TOGETHER))

    def graph(self, weights: csr_array) -> csr_array:
        """The graph without contents that have neither a text nor an image that can be read."""
        is_read = diags_array((self._has_text | self._has_image).astype(weights.dtype))
        found = csr_array(is_read @ weights @ is_read)
        found.eliminate_zeros()
        return found

    def _image_vectors(self, pixel_values: Tensor) -> Tensor:
        vectors_BD: Tensor = self.towers.images(pixel_values=pixel_values)
        return vectors_BD

    def _of_modalities(self, numbers: Numbers) -> list[tuple[Numbers, Tensor]]:
        """Vectors of the texts and of the images that contents have, `[T, D]` and `[V, D]`, and whose they are."""
        readers: tuple[tuple[npt.NDArray[np.bool_], Any], ...] = (
            (self._has_text, self._texts),
            (self._has_image, self._images),
        )
        found = []
        for has_any, reader in readers:
            places = np.flatnonzero(has_any[numbers])
            if len(places):
                found.append((places, reader.vectors(numbers[places].tolist())))
        return found

    def _loss(self, batch: Numbers, weights: csr_array) -> Tensor:
        """The mean cross-entropy of neighbours between modalities, and that of each item's text and image."""
        found = self._of_modalities(batch)
        wanted_BB = weights[batch][:, batch].toarray()
        losses = []
        for anchors, anchors_ND in found:
            for candidates, candidates_ND in found:
                wanted = wanted_BB[np.ix_(anchors, candidates)]
                if wanted.any():
                    is_same = anchors[:, None] == candidates
                    logits = anchors_ND @ candidates_ND.T / self.config.temperature
                    losses.append(neighbour_loss(logits, self._there(is_same), self._there(wanted)))
        loss = torch.stack(losses).mean()
        matched = self._match_loss(batch, found)
        return loss if matched is None else loss + matched

    def _match_loss(self, batch: Numbers, found: list[tuple[Numbers, Tensor]]) -> Tensor | None:
        """Cross-entropy of each item's image by its text and the other way round; None of fewer than two with both."""
        if len(found) < 2:
            return None
        (of_texts, texts_TD), (of_images, images_VD) = found
        both, at_texts, at_images = np.intersect1d(of_texts, of_images, assume_unique=True, return_indices=True)
        if len(both) < 2:
            return None
        logits_PP = self._scale * (texts_TD[self._there(at_texts)] @ images_VD[self._there(at_images)].T)
        text_ids, image_ids = self.content_ids(batch[both].tolist())
        # An equal text or image of another item is no negative.
        is_equal = (text_ids[:, None] == text_ids) | (image_ids[:, None] == image_ids)
        np.fill_diagonal(is_equal, val=False)
        logits_PP = logits_PP.masked_fill(self._there(is_equal), -1e4)
        right_P = torch.arange(len(both), device=self.device)
        of_both = [nn.functional.cross_entropy(logits, right_P) for logits in (logits_PP, logits_PP.T)]
        return torch.stack(of_both).mean()

    def _there(self, values: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)


class _TextReader:
    """Texts that the text tower reads by their number; what its frozen layers give is kept, if it fits."""

    def __init__(self, adapter: JointAdapter, tokens: TowerTokens, frozen: FrozenLayers | None) -> None:
        self._adapter, self._tower_tokens, self._frozen = adapter, tokens, frozen
        self.tokens: list[list[int] | None] = []
        self._is_kept = False

    def read(self, texts: Sequence[str | None]) -> None:
        """Take the texts."""
        self.tokens, self._is_kept = self._tower_tokens.of(texts), False
        numbers = [number for number, ids in enumerate(self.tokens) if ids is not None]
        if self._frozen is None or not numbers:
            return
        self._frozen.forget()
        dim = int(self._adapter.model.config.text_config.hidden_size)
        if not self._frozen.fits(sum(len(self._ids(number)) for number in numbers), dim):
            return
        for chosen in self._adapter.batches(numbers):
            lengths = [len(self._ids(number)) for number in chosen]
            self._frozen.capture(lambda chosen=chosen: self._run(chosen), chosen, lengths)
        self._is_kept = True

    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of texts `[B, D]`, of length 1."""
        longest = max(len(self._ids(number)) for number in numbers)
        with self._frozen.entered(numbers, longest) if self._is_kept and self._frozen else nullcontext():
            return nn.functional.normalize(self._run(numbers), dim=1)

    def _run(self, numbers: Sequence[int]) -> Tensor:
        return self._tower_tokens.vectors(self._adapter.towers.texts, [self._ids(number) for number in numbers])

    def _ids(self, number: int) -> list[int]:
        ids = self.tokens[number]
        assert ids is not None
        return ids
