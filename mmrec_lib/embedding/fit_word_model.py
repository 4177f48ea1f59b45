"""Words models fitted by Spark on texts: TF-IDF reduced by singular value decomposition, and word2vec.

What is collected is bounded by the config: the vocabulary, and `vocabulary_size` times about `dim` numbers a partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml.feature import Word2Vec
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf

from mmrec_lib.embedding.config import DOCUMENT
from mmrec_lib.embedding.owner_text import texts_of_fields
from mmrec_lib.embedding.texts import normalised
from mmrec_lib.embedding.word_model_config import WordModelConfig
from mmrec_lib.encoders.text.word_model import save_word_model, word_counts
from mmrec_lib.errors import NoDataError
from mmrec_lib.lakehouse.session import num_tasks
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.text.tokenizer import tokenize
from mmrec_lib.text.well_formed import well_formed

Stage = Callable[[str, DataFrame], DataFrame]

_OVERSAMPLING = 16
_POWER_STEPS = 3
_SETTINGS_OF_A_MODEL = ("method", "max_characters", "min_texts", "max_share", "vocabulary_size", "seed")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows.

    Attributes:
        words: In the order of the rows of vectors: by how many texts they are in, then by themselves.
        weights: `[num_words] float32`, ln((1 + n) / (1 + texts with the word)) + 1.
    """

    words: list[str]
    weights: npt.NDArray[np.float32]

    @property
    def index(self) -> dict[str, int]:
        """Row of each word."""
        return {word: row for row, word in enumerate(self.words)}


def fit_word_model(texts: DataFrame, root: str, settings: WordModelConfig, stage: Stage) -> Path:
    """Fits a words model and writes its directory; the same texts in any order give the same bytes.

    A config entry `<name>: {kind: <settings.method>}` under `models.encoders` then uses the model.

    Args:
        texts: Table with a string column `text`; nulls and repetitions do not count.
        root: `models.root`, a local or mounted folder.
        settings: What is fitted.
        stage: Computes rows once and reads them back, see `Lakehouse.stage`: the words are read several times.

    Returns:
        The directory, `<root>/<settings.name>`.

    Raises:
        NoDataError: When fewer than two words are in enough texts.
    """
    words = (
        texts.select(F.substring(normalised(F.col("text")), 1, settings.max_characters).alias("text"))
        .where(F.col("text").isNotNull())
        .distinct()
        .repartition(num_tasks(texts, settings.num_partitions), "text")
        .sortWithinPartitions("text")
        .select(segmented(F.col("text")).alias("words"))
    )
    words = stage("words", words)
    vocabulary = fit_vocabulary(words, settings)
    fit = latent_vectors if settings.method == "tfidf" else word2vec_vectors
    vectors = fit(words, vocabulary, settings)
    directory = Path(root, settings.name)
    kept = settings.model_dump(mode="json", include=set(_SETTINGS_OF_A_MODEL))
    save_word_model(directory, vocabulary.words, vectors, vocabulary.weights, kept)
    return directory


def store_texts(lakehouse: Lakehouse, fields: Sequence[str]) -> DataFrame:
    """The store's own texts that a model is fitted on.

    Args:
        lakehouse: Tables.
        fields: Any of title, description, review and document.

    Returns:
        `text`, one row a text, repetitions and nulls included.

    Raises:
        NoDataError: When documents are wanted, and no item has one.
    """
    item = lakehouse.read("item")
    sources = {
        "title": item.select("title"),
        "description": item.select("description"),
        "review": lakehouse.read("review").select("text"),
    }
    if DOCUMENT in fields:
        texts = texts_of_fields(lakehouse, fields, "words.fields")
        sources[DOCUMENT] = texts.where(F.col("field") == DOCUMENT).select("text")
    return reduce(DataFrame.unionAll, [sources[field].toDF("text") for field in dict.fromkeys(fields)])


def segmented(text: Column) -> Column:
    """Words of a text column: `array<string>`."""
    make: Any = arrow_udf  # Its stubs know no function with type hints.
    column: Column = make(_segmented, returnType="array<string>")(text)
    return column


def fit_vocabulary(words: DataFrame, settings: WordModelConfig) -> Vocabulary:
    """The most frequent words of texts, without those that are nearly everywhere.

    Args:
        words: Column `words`, one row a text.
        settings: `vocabulary_size`, `min_texts` and `max_share`.

    Raises:
        NoDataError: When fewer than two words are left.
    """
    num_texts = words.count()
    # A share of very few texts leaves nothing out.
    most_texts = max(settings.max_share * num_texts, settings.min_texts)
    rows = (
        words.select(F.explode(F.array_distinct("words")).alias("word"))
        .groupBy("word")
        .agg(F.count("*").alias("texts"))
        .where(F.col("texts").between(settings.min_texts, most_texts))
        .orderBy(F.desc("texts"), "word")
        .limit(settings.vocabulary_size)
        .collect()
    )
    if len(rows) < 2:
        raise NoDataError(
            f"Words model `{settings.name}`: words in {settings.min_texts} texts or more are needed, {num_texts} texts "
            f"have {len(rows)}. Lower words.min_texts, or fit it when there are more texts."
        )
    texts = np.array([row["texts"] for row in rows], np.float64)
    weights = (np.log((1 + num_texts) / (1 + texts)) + 1).astype(np.float32)
    return Vocabulary([str(row["word"]) for row in rows], weights)


def latent_vectors(words: DataFrame, vocabulary: Vocabulary, settings: WordModelConfig) -> npt.NDArray[np.float32]:
    """The leading right singular vectors of the TF-IDF matrix A of texts (rows of length 1): `[num_words, dim]`.

    Halko, Martinsson and Tropp, "Finding structure with randomness" (2011): a random subspace is multiplied by A'A, the
    texts being read once a time, and turned to the singular vectors within it.
    """
    num_words = len(vocabulary.words)
    dim = min(settings.dim, num_words)
    width = min(dim + _OVERSAMPLING, num_words)
    basis = np.linalg.qr(np.random.default_rng(settings.seed).standard_normal((num_words, width)))[0]
    for _ in range(_POWER_STEPS):
        basis = np.linalg.qr(_times_gram(words, vocabulary, basis))[0]
    product = _times_gram(words, vocabulary, basis)
    small = basis.T @ product
    _, turned = np.linalg.eigh((small + small.T) / 2)
    vectors = basis @ turned[:, ::-1][:, :dim]
    # The sign of a singular vector is arbitrary; that of its largest entry is made positive.
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(dim)])
    result: npt.NDArray[np.float32] = vectors.astype(np.float32)
    return result


def word2vec_vectors(words: DataFrame, vocabulary: Vocabulary, settings: WordModelConfig) -> npt.NDArray[np.float32]:
    """Skip-gram vectors by Spark ML, trained on the known words of each text in their order: `[num_words, dim]`.

    Mikolov, Chen, Corrado and Dean, "Efficient Estimation of Word Representations in Vector Space" (2013). Their common
    mean is taken off, because it hides what tells words apart (Mu and Viswanath, "All-but-the-Top", 2018).
    """
    index = vocabulary.index
    known = words.select(_only(frozenset(index), F.col("words")).alias("words")).where(F.size("words") > 1)
    # In one partition before Spark ML makes it one: what a shuffle brings together has no fixed order.
    known = known.coalesce(1)
    model = Word2Vec(
        vectorSize=settings.dim,
        minCount=0,
        numPartitions=1,
        maxIter=settings.epochs,
        seed=settings.seed,
        windowSize=settings.window,
        inputCol="words",
        outputCol="vector",
    ).fit(known)
    vectors = np.zeros((len(index), settings.dim), np.float32)
    for row in model.getVectors().collect():
        vectors[index[row["word"]]] = row["vector"].toArray()
    trained = vectors.any(axis=1)
    vectors[trained] -= vectors[trained].mean(axis=0)
    return vectors


def _times_gram(words: DataFrame, vocabulary: Vocabulary, basis: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A'A times a basis `[num_words, width]`, a partial sum a partition, added up in the order of partitions."""
    index, weights = vocabulary.index, vocabulary.weights

    def partial(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = np.zeros_like(basis)
        for batch in batches:
            total += _gram_product(batch.column("words").to_pylist(), index, weights, basis)
        yield pa.RecordBatch.from_arrays([pa.array([total.tobytes()], pa.binary())], names=["part"])

    parts = words.select("words").mapInArrow(partial, "part binary").collect()
    total = np.zeros_like(basis)
    for part in parts:
        total += np.frombuffer(part["part"], np.float64).reshape(basis.shape)
    return total


def _gram_product(
    texts: list[list[str]], index: Mapping[str, int], weights: npt.NDArray[np.float32], basis: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    counts = word_counts(texts, index, weights).astype(np.float64)
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).reshape(-1))
    counts.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(counts.indptr))
    product: npt.NDArray[np.float64] = counts.T @ (counts @ basis)
    return product


def _only(known: frozenset[str], words: Column) -> Column:
    def keep(texts: pa.Array) -> pa.Array:
        kept = [[word for word in text if word in known] for text in texts.to_pylist()]
        return pa.array(kept, pa.list_(pa.string()))

    make: Any = arrow_udf
    keep.__annotations__ = {"texts": pa.Array, "return": pa.Array}
    column: Column = make(keep, returnType="array<string>")(words)
    return column


def _segmented(texts: pa.Array) -> pa.Array:
    return pa.array([tokenize(well_formed(text)) for text in texts.to_pylist()], pa.list_(pa.string()))
