"""The tables that the product itself writes: one place for their columns, so that writers, rules and reports agree.

Their time column is ``ts``, because the alert rules and queries that users have say so. A store that the line protocol
alone made would name it otherwise (``points.TIME_COLUMN``): the embedded one is told when it is opened, a GreptimeDB by
``prepare``; both then keep to the table that is there.

Money is an integer of micro-USD, because it is added up. Names that SQL gives a meaning of its own are avoided.

Source: TensorFusion's measurements (operator and hypervisor, every 60 s); the request log of the gateway.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tensorfusion.timeseries.encoder import Field, Table
from tensorfusion.timeseries.errors import DatabaseRefused
from tensorfusion.timeseries.points import Kind
from tensorfusion.timeseries.reader import Asked, identifier, literal
from tensorfusion.timeseries.retention_bounds import Retention

_TIME: Final = "ts"
_UNSUPPORTED: Final = 1001


def _floats(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, Kind.FLOAT) for name in names)


def _ints(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, Kind.INT) for name in names)


def _maybe(fields: Iterable[Field]) -> tuple[Field, ...]:
    return tuple(replace(field, optional=True) for field in fields)


_ALLOCATED: Final = _floats(
    "allocated_tflops",
    "allocated_tflops_percent",
    "allocated_tflops_percent_virtual",
    "allocated_vram_bytes",
    "allocated_vram_percent",
    "allocated_vram_percent_virtual",
)

WORKER_RESOURCES: Final = Table(
    "tf_worker_resources",
    ("namespace", "pool", "qos", "worker", "workload"),
    (
        *_ints("gpu_count"),
        *_floats("tflops_limit", "tflops_request", "raw_cost", "vram_bytes_limit", "vram_bytes_request"),
        Field("ready", Kind.BOOL),
    ),
    _TIME,
)
NODE_METRICS: Final = Table(
    "tf_node_metrics", ("node", "pool", "phase"), (*_ALLOCATED, *_ints("gpu_count"), *_floats("raw_cost")), _TIME
)
POOL_METRICS: Final = Table(
    "tf_pool_metrics",
    ("pool", "phase"),
    (
        *_ALLOCATED,
        *_floats(
            "limited_tflops", "limited_vram_bytes", "limited_tflops_percent_virtual", "limited_vram_percent_virtual"
        ),
        *_ints("gpu_count"),
    ),
    _TIME,
)
SYSTEM_METRICS: Final = Table(
    "tf_system_metrics",
    ("pool",),
    (
        *_ints(
            "total_workers_cnt",
            "total_nodes_cnt",
            "total_allocation_fail_cnt",
            "total_allocation_success_cnt",
            "total_scale_up_cnt",
            "total_scale_down_cnt",
        ),
        *_maybe(
            _ints(
                "total_topo_satisfied_cnt",
                "total_topo_unsatisfied_cnt",
                "total_topo_fallback_cnt",
                "total_topo_search_degraded_cnt",
            )
        ),
    ),
    _TIME,
)
GPU_ALLOCATION: Final = Table(
    "tf_gpu_allocation",
    ("pod", "namespace", "pod_uuid", "node", "gpu_model_index", "gpu_name"),
    _ints("gpu_count"),
    _TIME,
)
GPU_METRICS: Final = Table(
    "tf_gpu_metrics",
    ("gpu", "node", "pool", "gpu_model", "phase"),
    _floats(
        "capacity_tflops",
        "available_tflops",
        "allocated_tflops",
        "allocated_tflops_percent",
        "capacity_vram_bytes",
        "available_vram_bytes",
        "allocated_vram_bytes",
        "allocated_vram_percent",
    ),
    _TIME,
)
GPU_USAGE: Final = Table(
    "tf_gpu_usage",
    ("uuid", "node", "pool"),
    (
        *_ints("memory_bytes"),
        *_floats("memory_percentage", "compute_percentage", "compute_tflops"),
        *_maybe(
            _floats(
                "rx",
                "tx",
                "temperature",
                "power_usage",
                "graphics_clock_mhz",
                "sm_clock_mhz",
                "memory_clock_mhz",
                "video_clock_mhz",
                "nvlink_rx",
                "nvlink_tx",
            )
        ),
    ),
    _TIME,
)
"""What a device does not measure has no value."""
WORKER_USAGE: Final = Table(
    "tf_worker_usage",
    ("uuid", "node", "pool", "pod_name", "namespace", "workload", "worker"),
    (
        *_ints("memory_bytes"),
        *_floats("memory_percentage", "compute_percentage", "compute_tflops"),
        *_maybe(_ints("compute_throttled_cnt", "vram_freezed_cnt", "vram_resumed_cnt")),
    ),
    _TIME,
)
LLM_REQUESTS: Final = Table(
    "llm_requests",
    ("namespace", "route", "model", "provider", "target", "key_id"),
    (
        Field("request_id", Kind.STRING),
        *_ints("requests", "status"),
        Field("stream", Kind.BOOL),
        Field("cache_hit", Kind.BOOL),
        *_ints("prompt_tokens", "completion_tokens"),
        Field("usage_estimated", Kind.BOOL),
        Field("cost_micro_usd", Kind.INT),
        *_floats("latency_ms", "queue_ms", "overhead_ms"),
        *_maybe(_floats("ttft_ms", "tpot_ms")),
        *_ints("bytes_in", "bytes_out", "attempts"),
        *(
            Field(name, Kind.STRING, optional=True)
            for name in (
                "attempt_log",
                "finish_reason",
                "user_id",
                "error_message",
                "client_ip",
                "api",
                "target_model",
                "error_type",
            )
        ),
    ),
    _TIME,
)
"""A row for every request that a client made; ``requests`` is 1, or how many were refused that are told of together.
``route`` is empty for those that none took, ``namespace`` and ``key_id`` where no good key came. ``attempt_log`` is
JSON: what was tried, where that was more than one answer; ``user_id`` is who the caller says it is for. Bodies are not
here."""
LLM_USAGE: Final = Table(
    "llm_usage",
    ("namespace", "route", "model", "provider", "target", "key_id"),
    (
        *_ints(
            "requests",
            "failed_requests",
            "estimated_requests",
            "timed_requests",
            "prompt_tokens",
            "completion_tokens",
            "cost_micro_usd",
            "cache_hits",
        ),
        *_floats("latency_ms"),
    ),
    _TIME,
)
"""What the requests of an hour came to; the row's time is the hour's start. ``latency_ms`` is the sum over
``timed_requests``, those for which a target was asked. Kept longer than the requests. Requests that no route took are
here without their model: whoever asks for names that do not exist makes no rows."""

TABLES: Final = (
    WORKER_RESOURCES,
    NODE_METRICS,
    POOL_METRICS,
    SYSTEM_METRICS,
    GPU_ALLOCATION,
    GPU_METRICS,
    GPU_USAGE,
    WORKER_USAGE,
    LLM_REQUESTS,
    LLM_USAGE,
)


def with_tags(table: Table, names: Iterable[str]) -> Table:
    """The table with further tags behind its own, as ``metricsExtraPodLabels`` asks for.

    Raises:
        ValueError: a name is none of a column, or taken.
    """
    return replace(table, tags=(*table.tags, *names))


async def prepare(database: Asked, tables: Iterable[Table], retention: Retention) -> None:
    """Make the tables that a GreptimeDB lacks, and set how long it keeps the rows of each.

    The embedded store takes no such statements; it has been told when it was opened, and nothing happens.

    Raises:
        DatabaseRefused, DatabaseFailed: see ``client``.
    """
    for table in tables:
        seconds = retention.tables.get(table.name, retention.seconds)
        try:
            await database.sql(definition(table, seconds))
            await database.sql(f"ALTER TABLE {identifier(table.name)} SET 'ttl' = {literal(f'{seconds}s')}")
        except DatabaseRefused as error:
            if error.code == _UNSUPPORTED:
                return
            raise


def definition(table: Table, seconds: int) -> str:
    """The statement that makes a table in GreptimeDB. Source: GreptimeDB documentation, SQL reference, CREATE."""
    time = identifier(table.time_column)
    columns = [
        *(f"{identifier(tag)} STRING" for tag in table.tags),
        *(f"{identifier(field.name)} {_TYPES[field.kind]}" for field in table.fields),
        f"{time} TIMESTAMP(9) NOT NULL",
        f"TIME INDEX ({time})",
    ]
    if table.tags:
        columns.append(f"PRIMARY KEY ({', '.join(map(identifier, table.tags))})")
    made = f"CREATE TABLE IF NOT EXISTS {identifier(table.name)} ({', '.join(columns)})"
    return f"{made} WITH ('ttl' = {literal(f'{seconds}s')})"


_TYPES: Final = {
    Kind.INT: "BIGINT",
    Kind.UNSIGNED: "BIGINT UNSIGNED",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "BOOLEAN",
    Kind.STRING: "STRING",
}
