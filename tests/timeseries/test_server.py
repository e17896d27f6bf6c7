"""The embedded store answers as a GreptimeDB does, to whoever says who they are."""

import asyncio
import base64
import gzip
import json
from collections.abc import Mapping
from urllib.parse import quote_plus

import pytest
from served_store import BOTH, READER, WRITER, Served

from tensorfusion.timeseries import server
from tensorfusion.wire.messages import Answer, origin_of
from tensorfusion.wire.pool import Pool

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SQL = b"sql=SELECT+*+FROM+gpu"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


BOTH_FIELDS = basic("both", BOTH)


async def ask(
    served: Served, method: str, target: str, body: bytes | None = None, fields: Mapping[str, str] = BOTH_FIELDS
) -> Answer:
    pool = Pool(origin_of(served.url))
    try:
        return await pool.request(method, target, fields=fields, body=body, seconds=30)
    finally:
        await pool.close()


async def select(served: Served, sql: str) -> Answer:
    return await ask(served, "POST", "/v1/sql?db=public", f"sql={quote_plus(sql)}".encode(), {**FORM, **BOTH_FIELDS})


async def test_an_answer_has_the_shape_of_greptimedb(served: Served) -> None:
    lines = b"gpu,node=n1 load=0.5,count=2i 17\ngpu,node=n2 load=1.5 18\n"
    written = await ask(served, "POST", "/v1/influxdb/write?db=public&precision=ns", lines)
    assert (written.status, written.body) == (204, b"")
    found = await select(served, "SELECT * FROM gpu ORDER BY greptime_timestamp")
    assert found.status == 200
    assert found.field(b"x-greptime-format") == "greptimedb_v1"
    body = json.loads(found.body)
    assert body.pop("execution_time_ms") >= 0
    assert body == {
        "code": 0,
        "output": [
            {
                "records": {
                    "schema": {
                        "column_schemas": [
                            {"name": "greptime_timestamp", "data_type": "TimestampNanosecond"},
                            {"name": "node", "data_type": "String"},
                            {"name": "load", "data_type": "Float64"},
                            {"name": "count", "data_type": "Int64"},
                        ]
                    },
                    "rows": [[17, "n1", 0.5, 2], [18, "n2", 1.5, None]],
                    "total_rows": 2,
                }
            }
        ],
    }


@pytest.mark.parametrize(
    "target",
    [
        "/v1/influxdb/write",
        "/v1/influxdb/write?db=greptime-public&precision=n",
        "/v1/influxdb/api/v2/write?bucket=public",
        "/v1/influxdb/api/v2/write?db=public&precision=ns",
    ],
)
async def test_both_versions_of_the_write_api_are_spoken(served: Served, target: str) -> None:
    assert (await ask(served, "POST", target, b"gpu load=1 5")).status == 204
    assert (await served.store.query("SELECT greptime_timestamp, load FROM gpu")).rows == [(5, 1.0)]


async def test_a_precision_is_that_of_the_request(served: Served) -> None:
    await ask(served, "POST", "/v1/influxdb/write?precision=ms", b"gpu load=1 1796018565901")
    assert (await served.store.query("SELECT greptime_timestamp FROM gpu")).rows == [(1796018565901000000,)]


async def test_a_query_comes_by_form_or_in_the_url(served: Served) -> None:
    await served.store.write("gpu load=1 5")
    answers = [
        await ask(served, "POST", "/v1/sql", SQL, {**FORM, **BOTH_FIELDS}),
        await ask(served, "POST", "/v1/sql?sql=SELECT+*+FROM+gpu", b""),
        await ask(served, "GET", "/v1/sql?sql=SELECT%20*%20FROM%20gpu&db=public"),
    ]
    assert [json.loads(answer.body)["output"][0]["records"]["rows"] for answer in answers] == [[[5, 1.0]]] * 3


async def test_what_json_has_no_number_for_is_null(served: Served) -> None:
    found = json.loads((await select(served, "SELECT 'inf'::DOUBLE, 'nan'::DOUBLE, 1.5")).body)
    assert found["output"][0]["records"]["rows"] == [[None, None, 1.5]]


@pytest.mark.parametrize(
    ("target", "body", "status", "code", "error"),
    [
        ("/v1/influxdb/write", b"gpu load=x 5", 400, 1004, "line 1: wanted a value of the field load"),
        ("/v1/influxdb/write", b"gpu load=1i 5", 400, 1004, "table gpu, column load: wanted field of type Float64"),
        ("/v1/influxdb/write?precision=days", b"gpu load=1 5", 400, 1004, "precision: wanted one of n, ns"),
        ("/v1/influxdb/write?db=other", b"gpu load=1 5", 400, 4004, "database other: not found: this store has public"),
        ("/v1/influxdb/write", b"gpu load=\xff 5", 400, 1004, "body: wanted UTF-8, found another byte at 9"),
        ("/v1/sql", b"", 400, 1004, "sql: wanted a query in the parameter sql, found nothing"),
        ("/v1/sql?db=other", SQL, 400, 4004, "database other: not found"),
        ("/v1/sql", b"sql=SELECT+*+FROM+nothing", 400, 4001, "query: table nothing: not found"),
        ("/v1/sql", b"sql=SELECT+nothing+FROM+gpu", 400, 4002, "not found"),
        ("/v1/sql", b"sql=SELEC+1", 400, 2000, "syntax error"),
        ("/v1/sql", b"sql=DROP+TABLE+gpu", 400, 1001, "wanted a SELECT, found DROP"),
        ("/v1/sql", b"sql=SELECT+*+FROM+range(20000)", 400, 1004, "wanted at most 10000 rows"),
    ],
)
async def test_an_error_has_the_shape_of_greptimedb(
    served: Served, target: str, body: bytes, status: int, code: int, error: str
) -> None:
    await served.store.write("gpu load=1 5")
    answer = await ask(served, "POST", target, body)
    said = json.loads(answer.body)
    assert (answer.status, said["code"], said["execution_time_ms"]) == (status, code, 0)
    assert error in said["error"]
    assert answer.field(b"x-greptime-err-code") == str(code)
    assert (await served.store.query("SELECT count(*) FROM gpu")).rows == [(1,)]


async def test_a_query_ends_when_its_sender_wants_no_longer_to_wait(served: Served) -> None:
    endless = quote_plus("SELECT count(*) FROM range(100000000000) a(x), range(1000) WHERE x % 7 = 1")
    fields = {**FORM, **BOTH_FIELDS, "X-Greptime-Timeout": "50ms"}
    answer = await ask(served, "POST", "/v1/sql", f"sql={endless}".encode(), fields)
    assert (answer.status, json.loads(answer.body)["code"]) == (504, 1005)
    assert "wanted an answer within 0.05 s" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Authorization": f"Bearer {BOTH}"},
        {"authorization": f"bearer {BOTH}"},
        basic("both", BOTH),
        {"x-greptime-auth": basic("both", BOTH)["Authorization"]},
        {"Authorization": f"token both:{BOTH}"},
        {"Authorization": f"Token {BOTH}"},
    ],
)
async def test_a_sender_may_say_who_they_are_in_every_known_way(served: Served, fields: dict[str, str]) -> None:
    assert (await ask(served, "POST", "/v1/influxdb/write", b"gpu load=1 5", fields)).status == 204


async def test_influx_clients_of_version_1_say_it_in_the_url(served: Served) -> None:
    target = f"/v1/influxdb/write?u=both&p={BOTH}"
    assert (await ask(served, "POST", target, b"gpu load=1 5", {})).status == 204
    assert (await ask(served, "GET", f"/v1/sql?u=both&p={BOTH}&sql=SELECT+1", None, {})).status == 401


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        (basic("reader", BOTH), 401),
        (basic("", BOTH), 401),
        ({"Authorization": "Basic ????"}, 401),
        ({"Authorization": "Digest abc"}, 401),
        ({"Authorization": "token :" + BOTH}, 401),
        (basic("reader", READER), 403),
    ],
)
async def test_who_may_not_write_writes_nothing(served: Served, fields: dict[str, str], status: int) -> None:
    answer = await ask(served, "POST", "/v1/influxdb/write", b"gpu load=1 5", fields)
    assert answer.status == status
    assert json.loads(answer.body)["code"] == {401: 7002, 403: 7006}[status]
    assert BOTH not in answer.body.decode()
    assert not served.store.tables


async def test_who_may_only_write_reads_nothing(served: Served) -> None:
    answer = await ask(served, "GET", "/v1/sql?sql=SELECT+1", None, basic("writer", WRITER))
    assert (answer.status, json.loads(answer.body)["error"]) == (403, "metrics store: user writer may not read")


async def test_health_is_open_and_says_nothing_else(served: Served) -> None:
    assert (await ask(served, "GET", "/health", None, {})).body == b"{}"
    assert (await ask(served, "GET", "/v1/influxdb/ping", None, {})).status == 204
    assert (await ask(served, "GET", "/v1/influxdb/health", None, {})).status == 200


async def test_a_packed_body_is_unpacked_within_its_bound(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LARGEST_WRITE", 10_000)
    packed = {**BOTH_FIELDS, "Content-Encoding": "gzip"}
    write = "/v1/influxdb/write"
    assert (await ask(served, "POST", write, gzip.compress(b"gpu load=1 5"), packed)).status == 204
    bomb = gzip.compress(b"#" * 1_000_000)
    assert len(bomb) < 10_000
    for body, said in (
        (bomb, "wanted at most 10000 bytes unpacked, found more"),
        (b"gpu load=1 6", "wanted gzip, found another"),
        (gzip.compress(b"gpu load=1 7")[:-4], "wanted gzip to its end"),
    ):
        answer = await ask(served, "POST", write, body, packed)
        assert answer.status in (400, 413)
        assert said in json.loads(answer.body)["error"]
    answer = await ask(served, "POST", write, b"", {**BOTH_FIELDS, "Content-Encoding": "br"})
    assert "wanted gzip or none, found 'br'" in json.loads(answer.body)["error"]
    assert (await served.store.query("SELECT count(*) FROM gpu")).rows == [(1,)]


async def test_a_body_beyond_its_bound_is_not_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LARGEST_WRITE", 1000)
    answer = await ask(served, "POST", "/v1/influxdb/write", b"#" * 2000)
    assert answer.status == 413
    assert json.loads(answer.body)["error"] == "body: wanted at most 1000 bytes, found more: send it in parts"


async def test_bodies_together_are_bounded_too(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_UNDER_WAY", 1000)
    answer = await ask(served, "POST", "/v1/influxdb/write", b"#" * 2000)
    assert (answer.status, answer.field(b"retry-after")) == (503, "1")
    assert (await ask(served, "POST", "/v1/influxdb/write", b"gpu load=1 5")).status == 204


async def test_many_small_writers_are_answered_at_once(served: Served) -> None:
    asked = (ask(served, "POST", "/v1/influxdb/write", f"gpu,n=n{n} load={n} {n}".encode()) for n in range(50))
    assert {answer.status for answer in await asyncio.gather(*asked)} == {204}
    assert (await served.store.query("SELECT count(*), count(DISTINCT n) FROM gpu")).rows == [(50, 50)]
