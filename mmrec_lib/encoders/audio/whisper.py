"""One window of sound → tokens with their probabilities, with any Whisper (Radford et al., 2022).

Whisper was trained on windows of 30 seconds, but its positions are sinusoids and its frames know little of far ones: of
a short sound so many frames are encoded as there are, and a few seconds of silence behind them. That is where the time
goes: an encoder's work grows with the square of the frames, and each token attends to all of them.

Shape legend: B windows (always one), T frames, D dimensions, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

_SECONDS_PER_TIME = 0.02
_FIRST_TIME_SECONDS = 1.0
_NEVER = float("-inf")


@dataclass(frozen=True)
class Token:
    """A token that was written.

    Attributes:
        id: In the vocabulary.
        probability: How sure the model was of it.
    """

    id: int
    probability: float


@dataclass(frozen=True)
class Written:
    """Text written of a window.

    Attributes:
        tokens: Text and time stamps in their order, without the end.
        no_speech: Probability that nobody speaks.
        is_loop: Whether writing was stopped because the tokens repeated themselves.
    """

    tokens: tuple[Token, ...]
    no_speech: float
    is_loop: bool


class WhisperNetwork:
    """The computations of a `WhisperForConditionalGeneration` for one window at a time, written greedily.

    Attributes:
        window_frames: Spectrum frames of a whole window.
        has_times: Whether the model can write time stamps.
        languages: Token of each language by its code; empty for a model of one language.
    """

    def __init__(self, model: Any, device: str, vocabulary: Mapping[str, int]) -> None:
        settings, config = model.generation_config, model.config
        self._model, self._device = model.to(device), device
        self.window_frames = 2 * int(config.max_source_positions)
        self._num_tokens_most = int(config.max_target_positions)
        self._start, self._end = int(config.decoder_start_token_id), int(config.eos_token_id)
        # A directory may lack generation_config.json, and a tokenizer the special tokens.
        given = getattr(settings, "no_timestamps_token_id", None)
        self._no_times: int | None = vocabulary.get("<|notimestamps|>") if given is None else int(given)
        # The ones behind it are the times, in all Whisper vocabularies.
        self._first_time = int(config.vocab_size) if self._no_times is None else self._no_times + 1
        self.has_times = int(config.vocab_size) >= self._first_time + int(config.max_source_positions) + 1
        is_multilingual = bool(getattr(settings, "is_multilingual", False))
        named = getattr(settings, "lang_to_id", None) or {}
        tasks = getattr(settings, "task_to_id", None) or {}
        if is_multilingual and ("transcribe" not in tasks or not named):
            raise ValueError("generation_config.json of a multilingual model without lang_to_id and task_to_id")
        self.languages: dict[str, int] = (
            {name.strip("<|>"): int(token) for name, token in named.items()} if is_multilingual else {}
        )
        self._task = [int(tasks["transcribe"])] if is_multilingual else []
        self._always = self._mask(getattr(settings, "suppress_tokens", None))
        self._at_first = self._mask(getattr(settings, "begin_suppress_tokens", None)) + self._always

    def hear(self, x_BMT: torch.Tensor) -> torch.Tensor:
        """Encodes log-mel spectra of at most a window: `[1, num_mels, T]` to `[1, T / 2, D]`; T must be even."""
        encoder = self._model.model.encoder
        with torch.inference_mode():
            x_BDT = torch.nn.functional.gelu(encoder.conv1(x_BMT.to(self._device, self._model.dtype)))
            x_BTD = torch.nn.functional.gelu(encoder.conv2(x_BDT)).transpose(1, 2)
            x_BTD = x_BTD + encoder.embed_positions.weight[: x_BTD.shape[1]]
            for layer in encoder.layers:
                # Layers of transformers 4 want a mask of heads, too, and return a tuple.
                out = layer(x_BTD, None, layer_head_mask=None)
                x_BTD = out[0] if isinstance(out, tuple) else out
            heard: torch.Tensor = encoder.layer_norm(x_BTD)
        return heard

    def language(self, heard_BTD: torch.Tensor) -> str:
        """Code of the language that is spoken; only for models of several."""
        with torch.inference_mode():
            logits_V = self._logits(heard_BTD, [self._start], self._cache())
        codes = list(self.languages)
        return codes[int(logits_V[[self.languages[code] for code in codes]].argmax())]

    def write(
        self, heard_BTD: torch.Tensor, language: str | None, num_tokens: int, *, with_times: bool, patience: int
    ) -> Written:
        """Writes down what is said, always the most probable token next.

        Args:
            heard_BTD: From `hear`.
            language: Code of the language, for models of several.
            num_tokens: Tokens at most.
            with_times: Whether time stamps are written between the parts of the text.
            patience: Repetitions after which writing is stopped, see `num_repeated`.
        """
        cache = self._cache()
        prompt = [] if language is None or not self.languages else [self.languages[language], *self._task]
        if not with_times and self._no_times is not None:
            prompt.append(self._no_times)
        most = min(num_tokens, self._num_tokens_most - len(prompt) - 1)
        tokens: list[Token] = []
        ids: list[int] = []
        with torch.inference_mode():
            logits_V = self._logits(heard_BTD, [self._start], cache)
            # The token before the one that forbids times says that nobody speaks.
            no_speech = 0.0 if self._no_times is None else float(logits_V.softmax(-1)[self._no_times - 1])
            if prompt:
                logits_V = self._logits(heard_BTD, prompt, cache)
            while len(ids) < most:
                logits_V = logits_V + (self._always if ids else self._at_first)
                if with_times:
                    logits_V = self._with_time_rules(logits_V, ids)
                else:
                    logits_V[self._first_time :] = _NEVER
                chances_V = logits_V.softmax(-1)
                best = int(chances_V.argmax())
                if best == self._end:
                    break
                tokens.append(Token(best, float(chances_V[best])))
                ids.append(best)
                if num_repeated([i for i in ids if not self.is_time(i)], patience):
                    return Written(tuple(tokens), no_speech, is_loop=True)
                logits_V = self._logits(heard_BTD, [best], cache)
        return Written(tuple(tokens), no_speech, is_loop=False)

    def is_time(self, token: int) -> bool:
        """Tell if a token is a time stamp."""
        return self.has_times and token >= self._first_time

    def seconds(self, token: int) -> float:
        """Seconds after the window's beginning that a time stamp stands for."""
        return (token - self._first_time) * _SECONDS_PER_TIME

    def _cache(self) -> EncoderDecoderCache:
        config = self._model.config
        return EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))

    def _logits(self, heard_BTD: torch.Tensor, ids: list[int], cache: EncoderDecoderCache) -> torch.Tensor:
        """Logits of the token behind `ids`, which come behind what the cache holds: `[V] float32`."""
        x_BTD = self._model.model.decoder(
            input_ids=torch.tensor([ids], device=self._device),
            encoder_hidden_states=heard_BTD,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        logits_V: torch.Tensor = self._model.proj_out(x_BTD[0, -1]).float()
        return logits_V

    def _mask(self, suppressed: list[int] | None) -> torch.Tensor:
        mask_V = torch.zeros(int(self._model.config.vocab_size), device=self._device)
        mask_V[[token for token in suppressed or () if token >= 0]] = _NEVER
        return mask_V

    def _with_time_rules(self, logits_V: torch.Tensor, ids: list[int]) -> torch.Tensor:
        """Times come in pairs around a part of the text, and never go back (Radford et al., section 4.5 and code)."""
        logits_V = logits_V.clone()
        first = self._first_time
        logits_V[first - 1] = _NEVER
        times = [i for i in ids if i >= first]
        if not ids:
            logits_V[:first] = _NEVER
            logits_V[first + round(_FIRST_TIME_SECONDS / _SECONDS_PER_TIME) + 1 :] = _NEVER
            return logits_V
        is_behind_time = ids[-1] >= first
        is_behind_two = len(ids) < 2 or ids[-2] >= first
        if is_behind_time and is_behind_two:
            logits_V[first:] = _NEVER
        elif is_behind_time:
            logits_V[: self._end] = _NEVER
        if times:
            # Behind a beginning, an end must be later; behind an end, the next beginning may be at the same time.
            earliest = times[-1] if is_behind_time and not is_behind_two else times[-1] + 1
            logits_V[first:earliest] = _NEVER
        if logits_V[first:].logsumexp(-1) > logits_V[:first].max():
            logits_V[:first] = _NEVER
        return logits_V


def num_repeated(ids: list[int], patience: int) -> int:
    """Length of the phrase that the end of a text repeats over and over; 0 when there is none.

    A phrase counts when it stands `patience` times in a row and these make up at least four times as many tokens, so
    that short words may come more often: a person may say "no" twelve times, but no sentence three times.
    """
    for length in range(1, len(ids) // patience + 1):
        times = max(patience, -(-4 * patience // length))
        if len(ids) >= times * length and ids[-times * length :] == ids[-length:] * times:
            return length
    return 0
