"""Nobody sees records beyond what the own key is good for, whatever is sent."""

from urllib.parse import urlencode

import pytest

from stores import START, Served, ids, kept, key, record, refused, told
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.keys.errors import ScopeMissing
from tensorfusion.gateway.usage.pages import UsagePages
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.reader import Reader

RED, RED_LOGS, RED_ADMIN = key("red/a"), key("red/l", "logs"), key("red/m", "admin")
OPERATOR = key("ops/o", "admin", operator=True)
INJECTIONS = (
    "' OR '1'='1",
    "red' OR namespace = 'blue",
    "red/a' UNION SELECT * FROM llm_requests --",
    "'; DROP TABLE llm_requests; --",
    "red/a\\' OR 1=1 --",
    ":namespace",
    "red/a') OR (1=1",
    "red/a/* */",
    '" OR ""="',
    "red/a\u2019 OR 1=1",
    "$1",
    "%' OR key_id LIKE '%",
)


@pytest.fixture
async def filled(store: Served) -> Served:
    await kept(
        store,
        record("red-a", timestamp=START + 1),
        record("red-b", key_id="red/b", timestamp=START + 2),
        record("blue-a", namespace="blue", key_id="blue/a", route="blue/r", model="secret", timestamp=START + 3),
        record("red-x", namespace="re", key_id="re/d", timestamp=START + 4),
    )
    return store


async def test_a_key_sees_its_own_requests_a_log_key_its_namespace_and_an_operator_all(filled: Served) -> None:
    assert await ids(filled, "", RED) == ["red-a"]
    assert await ids(filled, "", RED_LOGS) == ["red-b", "red-a"]
    assert await ids(filled, "", RED_ADMIN) == ["red-b", "red-a"]  # a tenant's own: who makes keys says their scopes
    assert await ids(filled, "", OPERATOR) == ["red-x", "blue-a", "red-b", "red-a"]
    assert await ids(filled, "", key("red/a", "logs", operator=True)) == ["red-b", "red-a"]


async def test_what_nobody_asked_with_a_good_key_is_only_for_who_runs_the_gateway(store: Served) -> None:
    stranger = refused("stranger", 401, namespace="", key_id="", route="", model="")
    await kept(store, stranger, refused("red", 429), refused("blue", 403, namespace="blue", key_id="blue/a", route=""))
    assert sorted(await ids(store, "", OPERATOR)) == ["blue", "red", "stranger"]
    for who in (RED, RED_LOGS, RED_ADMIN):
        assert await ids(store, "", who) == ["red"]
        assert await ids(store, "request_id=stranger", who) == []
        assert (await told(store.pages().usage, "", who))["failed_requests"] == 1
    assert await ids(store, "", key("green/a", "logs")) == []


async def test_usage_has_the_same_borders(filled: Served) -> None:
    usage = filled.pages().usage
    for who, wanted in ((RED, 1), (RED_LOGS, 2), (RED_ADMIN, 2), (OPERATOR, 4), (key("green/a", "logs"), 0)):
        found = await told(usage, "", who)
        assert found["total_requests"] == wanted
        assert ("secret" in str(found)) == (who is OPERATOR)


@pytest.mark.parametrize("name", ["red/b", "b", "blue/a", "nobody/x", "blue/l"])
async def test_another_key_is_refused_whether_there_is_one_or_not(filled: Served, name: str) -> None:
    with pytest.raises(ScopeMissing) as caught:
        await filled.pages().logs(f"api_key={name}".encode(), RED)
    assert "red/b" not in str(caught.value)
    if name.startswith(("blue", "nobody")):
        with pytest.raises(ScopeMissing):
            await filled.pages().usage(f"api_key={name}".encode(), RED_LOGS)


async def test_a_log_key_asks_for_one_key_of_its_namespace(filled: Served) -> None:
    assert await ids(filled, "api_key=b", RED_LOGS) == ["red-b"]
    assert await ids(filled, "api_key=red/a", RED_LOGS) == ["red-a"]
    assert await ids(filled, "api_key=blue/a", OPERATOR) == ["blue-a"]
    with pytest.raises(Fault, match="NAMESPACE/NAME"):
        await filled.pages().logs(b"api_key=a", OPERATOR)


@pytest.mark.parametrize("name", ["api_key", "start", "end", "model", "status", "limit", "request_id"])
async def test_what_is_sent_is_a_value_and_never_sql(filled: Served, name: str) -> None:
    for text in INJECTIONS:
        for who in (RED, RED_LOGS):
            try:
                found = await ids(filled, urlencode({name: text}), who)
            except (Fault, ScopeMissing):
                found = []
            assert found == []
    assert await ids(filled, "", RED_LOGS) == ["red-b", "red-a"]


async def test_a_namespace_whose_name_is_sql_sees_only_itself(filled: Served) -> None:
    for name in ("red' OR '1'='1", "re%", 'red" OR "a"="a', "red OR TRUE", "_ed"):
        odd = key(f"{name}/a", "logs")
        assert await ids(filled, "", odd) == []
        await kept(filled, record("odd", namespace=name, key_id=f"{name}/a"))
        assert await ids(filled, "", odd) == ["odd"]
        assert await ids(filled, "", RED_LOGS) == ["red-b", "red-a"]


QUERIES = (
    *("namespace=blue", "Namespace=blue", "key_id=blue/a", "api_key=a&api_key=blue/a", "start=1&start=2"),
    *("start=-1", "start=1e9", "start=nan", "start=99999999999", "start=2&end=1", "start=1.", "start=%D9%A1"),
    *("limit=0", "limit=1001", "limit=1%20", "status=2", "status=6xx", "status=20%D9%A0", "model=%00a", "model=%ff"),
    *("limit=1;DROP", "model=" + "a" * 257, "a=1&" * 50, "x" * 5000, "request_id=a%0Ab"),
)


async def test_what_cannot_be_meant_is_an_error() -> None:
    pages = UsagePages(Reader(Database("http://127.0.0.1:1")), now=lambda: START * 10**9)
    for query in QUERIES:
        with pytest.raises(Fault) as caught:
            await pages.logs(query.encode(), RED_LOGS)
        assert caught.value.status == 400, query


async def test_a_key_in_the_address_is_refused_and_not_repeated(filled: Served) -> None:
    secret = "tf-" + "A1b2" * 11
    with pytest.raises(Fault, match="looks like a key itself") as caught:
        await filled.pages().usage(f"api_key={secret}".encode(), RED_LOGS)
    assert secret not in str(caught.value)
