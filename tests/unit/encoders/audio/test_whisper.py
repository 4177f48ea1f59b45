from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from mmrec_lib.encoders.audio.whisper import WhisperNetwork, num_repeated

# The vocabulary: 8 words, end, start, two languages, a task, "nobody speaks", "no times", and 11 times of 0.02 seconds.
END, START, ENGLISH, GERMAN, TRANSCRIBE, NO_TIMES, FIRST_TIME = 8, 9, 10, 11, 12, 14, 15
NUM_FRAMES = 10


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = WhisperConfig(
        vocab_size=FIRST_TIME + NUM_FRAMES + 1,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=NUM_FRAMES,
        max_target_positions=40,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        # Large random weights: all tokens get their chance.
        init_std=1.0,
    )
    made = WhisperForConditionalGeneration(config).eval()
    made.generation_config = GenerationConfig(
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        is_multilingual=True,
        no_timestamps_token_id=NO_TIMES,
        lang_to_id={"<|en|>": ENGLISH, "<|de|>": GERMAN},
        task_to_id={"transcribe": TRANSCRIBE},
        suppress_tokens=[3, *range(END + 1, NO_TIMES)],
        begin_suppress_tokens=[END],
    )
    return made


@pytest.fixture(scope="module")
def network(model: WhisperForConditionalGeneration) -> WhisperNetwork:
    return WhisperNetwork(model, "cpu", {})


def spectrum(seed: int, num_frames: int = 2 * NUM_FRAMES) -> torch.Tensor:
    return torch.randn((1, 80, num_frames), generator=torch.Generator().manual_seed(seed))


def test_whole_window_is_heard_as_transformers_hears_it(
    model: WhisperForConditionalGeneration, network: WhisperNetwork
) -> None:
    x_BMT = spectrum(0)
    with torch.inference_mode():
        expected = model.model.encoder(x_BMT).last_hidden_state
    assert torch.allclose(network.hear(x_BMT), expected, atol=1e-5)
    assert network.hear(x_BMT[:, :, :8]).shape == (1, 4, 16)


def test_each_word_is_the_most_probable_one_behind_those_before_it(
    model: WhisperForConditionalGeneration, network: WhisperNetwork
) -> None:
    for seed in range(3):
        heard = network.hear(spectrum(seed))
        written = network.write(heard, "de", 12, with_times=False, patience=13)
        ids = [START, GERMAN, TRANSCRIBE, NO_TIMES]
        for token in written.tokens:
            with torch.inference_mode():
                logits_V = model(decoder_input_ids=torch.tensor([ids]), encoder_outputs=(heard,)).logits[0, -1]
            allowed = [word for word in range(END + (len(ids) > 4)) if word != 3]
            assert token.id == max(allowed, key=lambda word: float(logits_V[word]))
            ids.append(token.id)
        assert all(0 < token.probability <= 1 for token in written.tokens) and 0 < written.no_speech < 1


def test_language_is_the_one_that_transformers_detects(
    model: WhisperForConditionalGeneration, network: WhisperNetwork
) -> None:
    for seed in range(2):
        found = network.language(network.hear(spectrum(seed)))
        assert network.languages[found] == int(model.detect_language(spectrum(seed))[0])


def test_times_come_in_pairs_around_words_and_never_go_back(network: WhisperNetwork) -> None:
    num_times = 0
    for seed in range(4):
        written = network.write(network.hear(spectrum(seed)), "en", 30, with_times=True, patience=30)
        ids = [token.id for token in written.tokens]
        assert network.is_time(ids[0]) and 3 not in ids and END not in ids and NO_TIMES not in ids
        times = [network.seconds(token) for token in ids if network.is_time(token)]
        assert times == sorted(times)
        num_times += len(times)
        runs = "".join("t" if network.is_time(token) else "w" for token in ids).strip("w").split("w")
        # Between words there is an end and a beginning; a single one stands only at the very beginning and end.
        assert all(len(run) in (0, 2) for run in runs[1:-1])
    assert num_times > 4


def test_writing_stops_when_it_repeats_itself(network: WhisperNetwork) -> None:
    heard = network.hear(spectrum(0))
    free = network.write(heard, "en", 24, with_times=False, patience=25)
    stopped = network.write(heard, "en", 24, with_times=False, patience=1)
    # With a patience of one, a phrase of four tokens counts at once, and the first token four times.
    assert not free.is_loop and stopped.is_loop and stopped.tokens == free.tokens[: len(stopped.tokens)]
    assert len(stopped.tokens) == 4


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1, 2, 3, 4] * 3, 4),
        ([9, 9, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4], 4),
        ([1, 2, 3, 4] * 2, 0),
        ([7] * 11, 0),
        ([7] * 12, 1),
        ([5, 6] * 6, 2),
        ([1, 2, 3, 4] * 3 + [5], 0),
        ([], 0),
    ],
)
def test_repeated_phrase_is_found_at_the_end(ids: list[int], expected: int) -> None:
    assert num_repeated(ids, patience=3) == expected


def test_multilingual_model_without_its_languages_is_refused(model: WhisperForConditionalGeneration) -> None:
    languages = model.generation_config.lang_to_id
    model.generation_config.lang_to_id = None
    try:
        with pytest.raises(ValueError, match="lang_to_id"):
            WhisperNetwork(model, "cpu", {})
    finally:
        model.generation_config.lang_to_id = languages
