"""The product's own tables are written, stored and read with the columns that rules and reports name."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from served_store import Served

from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.encoder import Table, compiled
from tensorfusion.timeseries.errors import DatabaseRefused
from tensorfusion.timeseries.parser import parse
from tensorfusion.timeseries.points import Kind
from tensorfusion.timeseries.results import Result
from tensorfusion.timeseries.retention_bounds import DAY, Retention
from tensorfusion.timeseries.store import Store
from tensorfusion.timeseries.tables import (
    GPU_ALLOCATION,
    LLM_REQUESTS,
    SYSTEM_METRICS,
    TABLES,
    WORKER_RESOURCES,
    definition,
    prepare,
    with_tags,
)

EXAMPLES = {Kind.INT: 3, Kind.UNSIGNED: 3, Kind.FLOAT: 0.5, Kind.BOOL: True, Kind.STRING: 'a "text"'}


def row_of(table: Table, *, optional: bool) -> list[object]:
    tags: Iterable[object] = (f"{tag} of it" for tag in table.tags)
    fields = (EXAMPLES[field.kind] if optional or not field.optional else None for field in table.fields)
    return [*tags, *fields]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_a_row_of_every_table_comes_back_as_it_was(tmp_path: Path, table: Table) -> None:
    encode = compiled(table)
    store = await Store.open(tmp_path / "s.duckdb", tables=TABLES)
    full, bare = row_of(table, optional=True), row_of(table, optional=False)
    await store.write((encode(*full, 17) + encode(*bare, 18)).decode())
    columns = ", ".join(f'"{column}"' for column in table.columns)
    found = await store.query(f"SELECT ts, {columns} FROM {table.name} ORDER BY ts")
    assert found.rows == [(17, *full), (18, *bare)] if full != bare else [(17, *full), (18, *full)]
    assert [column.kind for column in found.columns[1:]] == [
        *(Kind.STRING for _ in table.tags),
        *(field.kind for field in table.fields),
    ]
    await store.close()


def test_labels_of_pods_become_further_tags() -> None:
    table = with_tags(GPU_ALLOCATION, ["team"])
    line = compiled(table)("p", "ns", "u", "n", "A100:0", "g", "red", 2, 17)
    (point,) = parse(line.decode())
    assert point.tags["team"] == "red"
    with pytest.raises(ValueError, match="columns of different names"):
        with_tags(GPU_ALLOCATION, ["pod"])


def test_columns_are_named_as_the_rules_name_them() -> None:
    assert set(SYSTEM_METRICS.columns) >= {"pool", "total_allocation_fail_cnt", "total_topo_search_degraded_cnt"}
    assert WORKER_RESOURCES.columns[:5] == ("namespace", "pool", "qos", "worker", "workload")
    assert {table.time_column for table in TABLES} == {"ts"}


async def test_a_rule_of_a_user_is_answered(tmp_path: Path) -> None:
    """The shape of the built-in rules: a period by now() and an interval, groups by tags, a threshold."""
    store = await Store.open(tmp_path / "s.duckdb", tables=TABLES)
    usage = {table.name: compiled(table) for table in TABLES}["tf_gpu_usage"]
    values = {"memory_bytes": 1, "compute_percentage": 1.0, "compute_tflops": 1.0}
    rest = dict.fromkeys(name for name in TABLES[6].columns if name not in values)
    lines = []
    for uuid, memory in (("g1", 98.5), ("g2", 50.0)):
        row = {**rest, **values, "uuid": uuid, "node": "n1", "pool": "p", "memory_percentage": memory}
        lines.append(usage(**row, time="").decode().rstrip() + "\n")  # without a time: now
    await store.write("".join(lines))
    found = await store.query(
        "SELECT node, pool, uuid, avg(memory_percentage) AS memory_used FROM tf_gpu_usage "
        "WHERE memory_percentage > 97 AND ts >= now() - '30s'::INTERVAL GROUP BY node, pool, uuid"
    )
    assert found.rows == [("n1", "p", "g1", 98.5)]
    await store.close()


def test_a_table_of_greptimedb_has_its_time_index_and_keys() -> None:
    assert definition(GPU_ALLOCATION, 3600) == (
        'CREATE TABLE IF NOT EXISTS "tf_gpu_allocation" ("pod" STRING, "namespace" STRING, "pod_uuid" STRING, '
        '"node" STRING, "gpu_model_index" STRING, "gpu_name" STRING, "gpu_count" BIGINT, "ts" TIMESTAMP(9) NOT NULL, '
        'TIME INDEX ("ts"), PRIMARY KEY ("pod", "namespace", "pod_uuid", "node", "gpu_model_index", "gpu_name")) '
        "WITH ('ttl' = '3600s')"
    )


class Recording:
    """A database that takes every statement, or refuses all."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.said: list[str] = []

    async def sql(self, text: str, *, seconds: float | None = None) -> Result:
        self.said.append(text)
        if self.code:
            raise DatabaseRefused("no", status=400, code=self.code)
        return Result((), [])


async def test_a_greptimedb_is_prepared_table_by_table() -> None:
    database = Recording()
    await prepare(database, [GPU_ALLOCATION, LLM_REQUESTS], Retention(30 * DAY, {"llm_requests": DAY}))
    assert [text.split(" (")[0] for text in database.said] == [
        'CREATE TABLE IF NOT EXISTS "tf_gpu_allocation"',
        "ALTER TABLE \"tf_gpu_allocation\" SET 'ttl' = '2592000s'",
        'CREATE TABLE IF NOT EXISTS "llm_requests"',
        "ALTER TABLE \"llm_requests\" SET 'ttl' = '86400s'",
    ]


async def test_a_database_that_cannot_be_prepared_says_so() -> None:
    with pytest.raises(DatabaseRefused):
        await prepare(Recording(2000), TABLES, Retention())


async def test_the_embedded_store_needs_no_preparing(served: Served) -> None:
    database: Database = served.database
    await prepare(database, TABLES, Retention())
    assert not served.store.tables
