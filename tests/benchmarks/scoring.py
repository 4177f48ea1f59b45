"""The work of the scoring job on a batch of users against the kernel alone, in the same run.

    python -m tests.benchmarks.scoring [--items 100000] [--users 4000] [--rounds 3] [--spark] [--again [20000]]

The batch goes the whole way: Arrow in, histories, vectors from two sources of low rank, seen items, exact top-k,
explanations, Arrow out. Against it stands `search` of the same users' vectors among the same items. All of it on one
core, in seconds of the processor; a ratio is the median over rounds. Figures with rules have 10 rules, five markets and
a block list for each tenth user. The served model, loaded by MLflow, answers one user at a time. With `--spark`, also
the job over partitions (read vectors, search, write Delta) against `ALSModel.recommendForAllUsers` of Spark ML on the
same factors, 20,000 users by 50,000 items, each once, in seconds of the clock. With `--again`, also the whole scoring
of a store of that many users by 20,000 items: everyone, nobody, and the users of whom something changed, 1 % of all.
What a run costs in which nobody changed is fixed. Writes `scoring.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import threadpoolctl
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.arrow_tables import arrow_schema
from mmrec_lib.lakehouse.config import SparkConfig, StoreConfig
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.ranker import pyfunc_file
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.sources.graph_filter import GraphFilter
from mmrec_lib.models.sources.ials import Ials, IalsSettings
from mmrec_lib.models.sources.popularity import PopularityModel
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.arrow_lists import lists_of_rows, vectors_to_arrow
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.scoring.config import ListConfig, ScoringConfig
from mmrec_lib.scoring.score import ScoringSettings, score_all
from mmrec_lib.scoring.users import score_batch
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.controls import CONTROLS_TYPE
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import prepare_items
from tests.champion import Champion
from tests.conftest import PROJECT

TARGETS = {
    "kernel / whole batch": ("at least", 0.5),
    "rules on / none": ("at most", 1.3),
    "ALS / our job": ("at least", 15),
    "(again - one user) / everyone": ("at most", 0.05),
}
DIM, RANK, K = 128, 64, 50
_SERVED_USERS = 40
MARKETS = ("at", "ch", "de", "es", "fr")
STRINGS = pa.map_(pa.string(), pa.string())
DAY = date(2026, 1, 1)


def ranker_of(num_items: int, rng: np.random.Generator) -> FittedRanker:
    """A ranker of two sources of low rank over random factors."""
    ids = np.array([f"i{n:07d}" for n in range(num_items)])
    lengths = rng.lognormal(0, 0.5, (num_items, 1))
    factors = (0.1 * lengths * rng.standard_normal((num_items, RANK))).astype(np.float32)
    left = 0.1 * rng.standard_normal((num_items, RANK // 2)).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((num_items, DIM)))[0].astype(np.float32)
    log_popularity = rng.standard_normal(num_items).astype(np.float32)
    return FittedRanker(
        settings=RankerSettings(fusion={"ials": 1.0, "graph_filter": 1.0}, dim=DIM),
        item_ids=ids,
        warm=np.ones(num_items, np.bool_),
        sources={"ials": Ials(factors, IalsSettings()), "graph_filter": GraphFilter((left, left.T.copy()))},
        popularity=PopularityModel(log_popularity, np.zeros((num_items, 0), np.float32), ()),
        cold_items=None,
        distilled=basis,
        shift=np.zeros(num_items, np.float32),
    )


def users_of(ids: NDArray[np.str_], num_users: int, rng: np.random.Generator) -> pa.RecordBatch:
    """Users with some ten items of history, all of them seen, each in a market."""
    lengths = rng.poisson(10, num_users)
    history = lists_of_rows(pa.array(ids).take(pa.array(rng.integers(0, len(ids), lengths.sum()))), lengths)
    markets = [[("market", MARKETS[n % len(MARKETS)])] for n in range(num_users)]
    return pa.RecordBatch.from_pydict(
        {
            "user_id": [f"u{n}" for n in range(num_users)],
            "attributes": pa.array(markets, STRINGS),
            "history_items": history,
            "history_weights": lists_of_rows(pa.array(np.ones(lengths.sum())), lengths),
            "seen_item_ids": history,
            "input_hash": pa.array(np.arange(num_users), pa.int64()),
            "seed": pa.array(np.arange(num_users), pa.int64()),
        }
    )


def rule(name: str, kind: str, **items: Any) -> dict[str, Any]:
    """A rule over some items, as in a configuration."""
    return {"name": name, "kind": kind, "items": items}


def with_rules(catalogue: Catalogue, batch: pa.RecordBatch) -> tuple[Catalogue, pa.RecordBatch]:
    """The same with 10 rules, markets and block lists."""
    num_items = len(catalogue.item_ids)
    table = pa.table(
        {
            "item_id": catalogue.item_ids,
            "available": np.ones(num_items, np.bool_),
            "categories": pa.array([[f"c{n % 50}"] for n in range(num_items)]),
            "markets": pa.array(
                [[MARKETS[n % 5], MARKETS[(n + 1) % 5], MARKETS[(n + 2) % 5]] for n in range(num_items)]
            ),
            "price": np.linspace(1, 100, num_items),
            "attributes": pa.nulls(num_items).cast(STRINGS),
        }
    )
    rules: list[dict[str, Any]] = [
        *(rule(f"no c{n}", "exclude", categories=[f"c{n}"]) for n in range(4)),
        *(rule(f"more c{n}", "boost", categories=[f"c{n}"]) | {"amount": 0.1} for n in (5, 6)),
        *(rule(f"less c{n}", "bury", categories=[f"c{n}"]) | {"amount": 0.1} for n in (7, 8)),
        rule("dear", "exclude", price_at_least=99.0),
        rule("pin", "pin", item_ids=[str(catalogue.item_ids[9])]) | {"position": 3},
    ]
    config = ShowingConfig.model_validate({"rules": rules, "market_attribute": "market"})
    built = build_rules(table, config, DAY, {"market": MARKETS}, soft_controls={})
    blocks = [
        [{"action": "block", "target_kind": "item", "target": str(catalogue.item_ids[n % num_items]), "strength": None}]
        if n % 10 == 0
        else None
        for n in range(batch.num_rows)
    ]
    return replace(catalogue, rules=built), batch.append_column("controls", pa.array(blocks, CONTROLS_TYPE))


def medians(sides: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each side, taken in turns after one run of each that is not counted."""
    for work in sides.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            start = clock()
            work()
            taken[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def measure_batches(num_items: int, num_users: int, rounds: int) -> dict[str, Any]:
    """Figures of one core."""
    rng = np.random.default_rng(0)
    ranker = ranker_of(num_items, rng)
    plain = build_rules(
        pa.table({"item_id": ranker.item_ids, "available": np.ones(num_items, np.bool_)}), ShowingConfig(), DAY, {}
    )
    catalogue = Catalogue(ranker, ranker.item_ids, ranker.item_vectors(), plain)
    batch = users_of(ranker.item_ids, num_users, rng)
    ruled, ruled_batch = with_rules(catalogue, batch)
    lists, no_steps = ListConfig(k=K), RerankingConfig()
    vectors = np.array(score_batch(batch, catalogue, lists, no_steps)["vector"].to_pylist(), np.float32)
    seconds = medians(
        {
            "kernel": lambda: search(catalogue.prepared, vectors, K, num_threads=1),
            "whole batch": lambda: score_batch(batch, catalogue, lists, no_steps),
            "without explanations": lambda: score_batch(
                batch, catalogue, lists.model_copy(update={"explained_ranks": 0}), no_steps
            ),
            "half of the users": lambda: score_batch(batch.slice(0, num_users // 2), catalogue, lists, no_steps),
            "rules on": lambda: score_batch(ruled_batch, ruled, lists, no_steps),
        },
        rounds,
        time.process_time,
    )
    ratios = {
        "kernel / whole batch": seconds["kernel"] / seconds["whole batch"],
        "rules on / none": seconds["rules on"] / seconds["whole batch"],
        "whole batch / half of the users": seconds["whole batch"] / seconds["half of the users"],
    }
    return {
        "users_a_second": {name: num_users / value for name, value in seconds.items()},
        "ratios": ratios,
        "served_user_ms": measure_served(ranker, ruled.rules),
    }


def measure_served(ranker: FittedRanker, rules: ItemRules) -> dict[str, float]:
    """Milliseconds of one user of the model as MLflow loads it, each time another user: of the processor, medians."""
    import mlflow

    control = {"action": "mute", "target_kind": "category", "target": "c7"}
    histories = np.random.default_rng(1).choice(ranker.item_ids, (_SERVED_USERS, 10))
    asked: dict[str, Iterator[pd.DataFrame]] = {
        name: itertools.cycle(
            [
                pd.DataFrame({"item_ids": [own.tolist()], "attributes": [{"market": MARKETS[n % 5]}]} | more)
                for n, own in enumerate(histories)
            ]
        )
        for name, more in {"plain": {}, "with rules": {}, "with rules and a mute": {"controls": [[control]]}}.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ranker.save(folder / "ranker")
        rules.save(folder / "rules")
        mlflow.pyfunc.save_model(
            folder / "model",
            python_model=pyfunc_file.__file__,
            artifacts={"ranker": str(folder / "ranker")},
            model_config=pyfunc_file.DEFAULT_CONFIG,
            signature=pyfunc_file.signature(),
            input_example=pd.DataFrame({"item_ids": [histories[0].tolist()]}),
            pip_requirements=["numpy"],
        )
        plain = mlflow.pyfunc.load_model(str(folder / "model"))
        ruled = mlflow.pyfunc.load_model(str(folder / "model"), model_config={"rules": str(folder / "rules")})
        sides = {
            name: lambda model=plain if name == "plain" else ruled, users=users: model.predict(
                next(users), params={"k": K}
            )
            for name, users in asked.items()
        }
        return {name: 1_000 * value for name, value in medians(sides, _SERVED_USERS, time.process_time).items()}


def measure_job(num_users: int = 20_000, num_items: int = 50_000) -> dict[str, Any]:
    """The job over partitions against Spark ML's on the same factors."""
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, FloatType, IntegerType, LongType, StructField, StructType

    spark = build_session(SparkConfig(master="local[2]", driver_memory="4g"))
    pairs = spark.range(400_000).select(
        F.expr(f"cast(rand(1) * {num_users} as int)").alias("user"),
        F.expr(f"cast(rand(2) * {num_items} as int)").alias("item"),
    )
    with_all = pairs.union(spark.range(num_items).selectExpr(f"cast(id % {num_users} as int)", "cast(id as int)"))
    every = with_all.union(spark.range(num_users).selectExpr("cast(id as int)", "0")).withColumn("rating", F.lit(1.0))
    model = ALS(rank=RANK, maxIter=2, implicitPrefs=True, userCol="user", itemCol="item", seed=1).fit(every)
    listed = StructType(
        [
            StructField("user", LongType()),
            StructField("items", ArrayType(IntegerType())),
            StructField("scores", ArrayType(FloatType())),
        ]
    )
    with tempfile.TemporaryDirectory() as scratch:
        model.userFactors.write.parquet(f"{scratch}/users")
        model.itemFactors.write.parquet(f"{scratch}/items")
        items_path = f"{scratch}/items"

        def lists(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(items_path).combine_chunks()
            item_ids = table["id"].chunk(0)
            items = prepare_items(table["features"].chunk(0).flatten().to_numpy().reshape(len(table), RANK))
            for batch in batches:
                vectors = batch["features"].flatten().to_numpy().reshape(batch.num_rows, RANK)
                top = search(items, vectors, K, num_threads=1)
                lengths = np.full(batch.num_rows, K)
                yield pa.RecordBatch.from_arrays(
                    [
                        batch["id"].cast(pa.int64()),
                        lists_of_rows(item_ids.take(pa.array(top.indices.ravel())), lengths),
                        vectors_to_arrow(top.scores),
                    ],
                    names=listed.names,
                )

        def ours() -> None:
            users = spark.read.parquet(f"{scratch}/users")
            users.mapInArrow(lists, listed).write.format("delta").mode("overwrite").save(f"{scratch}/ours")

        def theirs() -> None:
            model.recommendForAllUsers(K).write.format("delta").mode("overwrite").save(f"{scratch}/als")

        seconds = {}
        for name, work in {"our job": ours, "ALS": theirs}.items():
            start = time.perf_counter()
            work()
            seconds[name] = time.perf_counter() - start
        first = spark.read.format("delta").load(f"{scratch}/ours").orderBy("user").limit(20).collect()
        theirs_first = {
            row["user"]: [one["item"] for one in row["recommendations"]]
            for row in spark.read.format("delta").load(f"{scratch}/als").where("user < 1000").collect()
        }
        same = [len(set(row["items"]) & set(theirs_first[row["user"]])) / K for row in first]
    spark.stop()
    return {"seconds": seconds, "ratios": {"ALS / our job": seconds["ALS"] / seconds["our job"]}, "common": min(same)}


def measure_again(
    spark: SparkSession, num_users: int, *, deletion_vectors: bool, num_items: int = 20_000, rounds: int = 3
) -> dict[str, Any]:
    """Scoring everyone, nobody, one user (the fixed costs), and 1 % of the users, whose histories changed."""
    rng = np.random.default_rng(0)
    ranker = ranker_of(num_items, rng)
    now = datetime(2025, 12, 31, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as scratch:
        lakehouse = Lakehouse(spark, StoreConfig(out=f"{scratch}/out"), "bench", now)
        champion = Champion.of(ranker, Path(scratch) / "ranker")

        def put(name: str, rows: Mapping[str, Any]) -> None:
            contract = CONTRACTS[name]
            fields = arrow_schema(contract.input_schema)
            length = len(next(iter(rows.values())))
            columns = [pa.array(rows.get(f.name, [None] * length), f.type) for f in fields]
            table = pa.table(columns, names=fields.names)
            lakehouse.merge(name, Staged(lakehouse.from_arrow(table, contract)))

        def put_users(users: NDArray[np.int64]) -> None:
            ids = [f"u{n:06d}" for n in users]
            seen = ranker.item_ids[rng.integers(0, num_items, (len(users), 10))].tolist()
            put("user", {"user_id": ids, "updated_at": [now] * len(ids), "is_declared": [True] * len(ids)})
            histories = [[{"item_id": item, "weight": 1.0, "last_ts": now} for item in items] for items in seen]
            known = {"num_events": [10] * len(ids), "event_counts": [[]] * len(ids)}
            put("user_profile", {"user_id": ids, "history": histories, "seen_item_ids": seen, **known})

        items = ranker.item_ids.tolist()
        put("item", {"item_id": items, "available": [True] * num_items, "updated_at": [now] * num_items})
        put("training_item", {"snapshot_id": ["s1"] * num_items, "item_id": items})
        about = {"snapshot_id": "s1", "as_of_date": DAY, "split_source": "given", "is_current": True}
        counts = {"num_users": num_users, "num_items": num_items, "num_interactions": 10 * num_users}
        put("training_snapshot", {name: [v] for name, v in {**about, **counts, "table_versions": []}.items()})
        put_users(np.arange(num_users))

        def score(*, only_affected: bool) -> float:
            config = ScoringConfig(only_affected=only_affected, deletion_vectors=deletion_vectors)
            settings = ScoringSettings(config, ShowingConfig(), RerankingConfig())
            start = time.perf_counter()
            counts = score_all(lakehouse, champion, settings).counts
            took = time.perf_counter() - start
            print(f"scored {counts['users.scored']:>6} of {counts['users']} users in {took:6.1f} s", flush=True)
            return took

        score(only_affected=True)
        seconds: dict[str, list[float]] = {"everyone": [], "nobody": [], "one user": [], "again": []}
        for _ in range(rounds):
            seconds["nobody"].append(score(only_affected=True))
            for name, num_changed in {"one user": 1, "again": num_users // 100}.items():
                put_users(rng.choice(num_users, num_changed, replace=False))
                seconds[name].append(score(only_affected=True))
            seconds["everyone"].append(score(only_affected=False))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    share = (medians["again"] - medians["one user"]) / medians["everyone"]
    ratios = {"(again - one user) / everyone": share, "again / everyone": medians["again"] / medians["everyone"]}
    return {"seconds": seconds, "ratios": ratios, "users": num_users, "items": num_items}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spark", action="store_true")
    parser.add_argument("--again", type=int, nargs="?", const=20_000, metavar="USERS")
    parser.add_argument("--deletion-vectors", action="store_true", help="with --again: scoring.deletion_vectors")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench")
    arguments = parser.parse_args()
    with threadpoolctl.threadpool_limits(1):
        found = measure_batches(arguments.items, arguments.users, arguments.rounds)
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if arguments.spark:
        job = measure_job()
        found["ratios"] |= job.pop("ratios")
        found["job"] = job
    if arguments.again:
        spark = build_session(SparkConfig(master="local[2]", driver_memory="4g"))
        again = measure_again(
            spark, arguments.again, deletion_vectors=arguments.deletion_vectors, rounds=arguments.rounds
        )
        spark.stop()
        found["ratios"] |= again.pop("ratios")
        found["again"] = again
    for name, value in found["users_a_second"].items():
        print(f"{name:<34} {value:10,.0f} users a second")
    for name, value in found["served_user_ms"].items():
        print(f"{f'one user of the served model, {name}':<45} {value:10.1f} ms at most 20")
    for name, value in found["ratios"].items():
        bound = " {} {:g}".format(*TARGETS[name]) if name in TARGETS else ""
        print(f"{name:<34} {value:10.2f}{bound}")
    found["about"] = {"items": arguments.items, "users": arguments.users, "machine": platform.processor()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "scoring.json").write_text(json.dumps(found, indent=2, default=float), encoding="utf-8")


if __name__ == "__main__":
    main()
