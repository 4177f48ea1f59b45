"""What a document may be made of, and when there is one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mmrec_lib.embedding.config import DEFAULT_DOCUMENT, EmbeddingConfig, FieldEncoder
from mmrec_lib.recipes.config import RecipeConfig


def settings(**values: Any) -> EmbeddingConfig:
    return EmbeddingConfig.model_validate(values)


def test_documents_are_made_where_an_encoder_or_a_list_asks_for_them() -> None:
    usual = settings()
    assert usual.document_entries == () and not any(one.field == "document" for one in usual.field_encoders)
    encoded = settings(encode={"item": {"document": {"default": "a", "de": "b"}}})
    assert encoded.document_entries == DEFAULT_DOCUMENT
    assert {FieldEncoder("document", "a", "default"), FieldEncoder("document", "b", "de")} <= set(
        encoded.field_encoders
    )
    assert settings(encode={"item": {"document": []}}).document_entries == ()
    named = ["attribute:director", "tags", "price"]
    assert settings(document=named).document_entries == tuple(named)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["title", "brand", "attribute:"], r"title, description, .*attribute:<name> are needed, got brand, attribute:"),
        (["title", "document"], "got document"),
        (["title", "attribute:a", "title", "attribute:a"], "attribute:a, title several times"),
        ([], "at least 1 item"),
    ],
)
def test_entries_that_are_unknown_or_repeated_are_refused(entries: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(document=entries)


def test_a_tagger_reads_no_document_and_other_recipes_do() -> None:
    with pytest.raises(ValidationError, match="got document, which is put together"):
        RecipeConfig(kind="tagger", fields=("title", "document"))
    assert RecipeConfig(kind="classifier", fields=("document",)).fields == ("document",)
