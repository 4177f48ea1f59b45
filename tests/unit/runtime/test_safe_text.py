"""Secrets are masked and control characters visible, in whatever is shown."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.config import load_config
from mmrec_lib.errors import ConfigError, StoreError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.runtime.logs import LIBRARY, SafeFormatter, configure_logging
from mmrec_lib.runtime.settings import Settings
from mmrec_lib.safe_text import (
    for_people,
    holds_secret,
    is_secret_name,
    mask_config,
    mask_secrets,
    page_text,
    printable,
)
from tests.conftest import PROJECT

SECRET = "hUsh42"


@pytest.mark.parametrize(
    "text",
    [
        f"s3://user:{SECRET}@bucket/folder",
        f"s3a://AKIA12:ab/{SECRET}/cd@bucket/folder",
        f"postgresql://mlflow:{SECRET}@db:5432/mlflow",
        f"https://{SECRET}@example.org/x",
        f"https://a.blob.core.windows.net/c?sv=2024&sig={SECRET}&se=2025",
        f"https://h/x?token={SECRET}",
        f"https://h/x?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET};EndpointSuffix=x",
        f"fs.s3a.secret.key={SECRET}",
        f"{{'fs.azure.account.key.a.dfs.core.windows.net': '{SECRET}'}}",
        f'"client_secret": "{SECRET}"',
        f"password: {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"aws_secret_access_key = {SECRET}",
    ],
)
def test_a_secret_is_masked(text: str) -> None:
    masked = mask_secrets(f"it is {text} and no more")
    assert SECRET not in masked and "***" in masked
    assert masked.startswith("it is ") and masked.endswith(" and no more")
    assert mask_secrets(masked) == masked
    assert SECRET not in str(StoreError(f"DATA {text}: cannot be opened"))


@pytest.mark.parametrize(
    "text",
    [
        "hdfs://nn:8020/data/user@home/x",
        "abfss://container@account.dfs.core.windows.net/data",
        "s3://bucket/folder?region=eu-west-1",
        "key=value and token=, training.seed=1",
        "config key `scoring.kk` is unknown; did you mean `k`?",
        "max_tokens=512 batch_tokens: 16384",
        "/home/me/landing/a:b@c.jsonl",
        "the secret of good recommendations",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_secrets(text) == text


def test_names_of_secrets_are_known_and_settings_have_none() -> None:
    names = [
        "fs.s3a.secret.key",
        "accountKey",
        "hf_token",
        "spark.hadoop.fs.s3a.access.key",
        "dbPassword",
        "fs.azure.sas.x",
    ]
    assert all(map(is_secret_name, names))
    assert not any(map(is_secret_name, ["max_tokens", "batch_tokens", "keyboard", "tokenizer", "monkey"]))
    values = Settings().model_dump(mode="json")
    assert mask_config(values) == values


def test_configuration_is_masked_by_name_and_by_content() -> None:
    conf = {"fs.s3a.secret.key": SECRET, "fs.s3a.endpoint": "eu", "secret": {"inner": [SECRET]}, "n": 3}
    values = {"spark": {"conf": conf}, "tracking": {"tracking_uri": f"mysql://u:{SECRET}@h/db"}}
    hidden = {"fs.s3a.secret.key": "***", "fs.s3a.endpoint": "eu", "secret": {"inner": ["***"]}, "n": 3}
    assert mask_config(values) == {
        "spark": {"conf": hidden},
        "tracking": {"tracking_uri": "mysql://u:***@h/db"},
    }


def test_a_secret_of_digits_is_masked_and_one_that_is_not_given_is_not() -> None:
    values = {"db.password": 4_215_551, "token": 1.5, "keys": 3, "secret": None, "api.key": "", "use_key": True}
    assert mask_config(values) == values | {"db.password": "***", "token": "***"}
    with pytest.raises(ConfigError) as caught:
        load_config(Settings, PROJECT / "conf", "local", (), ["spark.conf.db.password=4215551"])
    assert "spark.conf" in str(caught.value) and "4215551" not in str(caught.value)


@pytest.mark.parametrize("field", ["data", "out", "staging", "report_folder"])
def test_places_of_a_store_hold_no_secret(field: str) -> None:
    with pytest.raises(ValueError, match=r"must hold no password.*AWS_ACCESS_KEY_ID.*spark\.conf"):
        StoreConfig(**{field: f"s3://me:{SECRET}@bucket/x"})
    assert getattr(StoreConfig(**{field: "s3://bucket/x"}), field) == "s3://bucket/x"


def test_holding_a_secret_is_about_uris() -> None:
    assert holds_secret(f"https://h/x?sig={SECRET}")
    assert not holds_secret("abfss://container@account.dfs.core.windows.net/x")


# control characters


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\r\nFAKE LINE\tb", r"a\r\nFAKE LINE\tb"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("\udcff.jsonl", r"\udcff.jsonl"),
        ("a\u2028b\u2066c\ufeffd", r"a\u2028b\u2066c\ufeffd"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_moves_a_terminal_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(ConfigError(text)) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["plain", "Größe 10 €", "صورة", "👩‍👧 ❤️", "商品", "`quoted` 'x' \"y\" <b>&amp;"])
def test_words_of_people_stay(text: str) -> None:
    assert for_people(text) == text


def test_lines_are_kept_where_they_are_lines() -> None:
    assert printable("a\n\tb\x1b", keep_lines=True) == "a\n\tb\\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb\u2066c\u200fd\x1b[31me\x00f\ud800", "abcd[31mef\ufffd"),
        ("one\rtwo\u2028three\x85four\n\tfive", "one two three four\n\tfive"),
        ("\U000e0041\ue000\u200bx", "x"),
        ("صورة 👩‍👧 ❤️ 商品", "صورة 👩‍👧 ❤️ 商品"),
    ],
)
def test_a_page_leaves_out_what_hides_or_turns_text(text: str, shown: str) -> None:
    assert page_text(text) == shown


@given(st.text(alphabet=st.characters()))
def test_a_page_and_a_terminal_agree_on_what_is_harmful(text: str) -> None:
    on_page = page_text(text)
    assert printable(on_page, keep_lines=True) == on_page
    assert (on_page == text) == (printable(text, keep_lines=True) == text)


# logging


def record(message: str, *arguments: object, with_trace: bool = False) -> logging.LogRecord:
    info = None
    if with_trace:
        try:
            raise ValueError(f"\x1b[2J token={SECRET}")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("mmrec_lib.x", logging.INFO, "x.py", 1, message, arguments, info)


def test_a_log_record_is_one_harmless_line() -> None:
    line = SafeFormatter("%(name)s: %(message)s").format(record("read %s", f"a\nb\x1b[2J?sig={SECRET}"))
    assert line == r"mmrec_lib.x: read a\nb\x1b[2J?sig=***"


def test_a_trace_keeps_its_lines_and_nothing_else() -> None:
    text = SafeFormatter("%(message)s").format(record("failed", with_trace=True))
    assert text.startswith("failed\nTraceback") and text.endswith(r"ValueError: \x1b[2J token=***")


@pytest.mark.parametrize(("level", "is_shown"), [("info", True), ("debug", True), ("warning", False), ("error", False)])
def test_messages_of_the_librarys_modules_are_shown_by_level(
    level: str, is_shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    root, library = logging.getLogger(), logging.getLogger(LIBRARY)
    before = (root.handlers[:], root.level, library.level)
    try:
        configure_logging(level)
        configure_logging(level)
        logging.getLogger("mmrec_lib.ingest.run").info("landing: %d files", 3)
        shown = capsys.readouterr().err
        assert shown.count("INFO mmrec_lib.ingest.run: landing: 3 files") == int(is_shown)
        logging.getLogger("somebody.else").info("noise")
        assert "noise" not in capsys.readouterr().err
    finally:
        root.handlers[:], root.level = before[0], before[1]
        library.setLevel(before[2])
