"""Requests from the served OpenAPI documents: no internal error, and every refusal is a Status.

``TENSORFUSION_FUZZ_SECONDS`` is for how long (150).
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case

from asking import Answer, Api
from served_operations import Served, served_operations
from servers import EMBEDDED, server
from two_servers import THINGS

SECONDS = float(os.environ.get("TENSORFUSION_FUZZ_SECONDS", "150"))
ROUND = settings(
    max_examples=10,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
_DRY = ("apis/admissionregistration.k8s.io/v1", "apis/apiextensions.k8s.io/v1")
"""Groups whose objects change what other requests do: webhooks that nobody answers, kinds that are there no longer."""
_names = st.sampled_from(["a", "a", "a", "a", "b", ""])


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with server(EMBEDDED, tmp_path) as address:
        found = Api(address)
        found.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", THINGS)
        path = found.path(f"{THINGS['spec']['group']}/v1", "things")
        found.eventually(lambda: found("GET", path).status == 200)
        yield found
        found.close()


@pytest.mark.parametrize(
    ("status", "body", "wrong"),
    [
        (200, {"kind": "ConfigMap"}, ""),
        (404, {"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}, ""),
        (504, {"kind": "Status", "code": 504, "reason": "Timeout", "message": "Timeout: Too large"}, ""),
        (500, {"kind": "Status", "code": 500, "reason": "InternalError", "message": "oh"}, "an internal error"),
        (404, None, "a refusal that is no Status"),
        (404, {"kind": "Status", "code": 400, "reason": "x", "message": "y"}, "a refusal that is no Status"),
        (409, {"kind": "Status", "code": 409, "message": "y"}, "a refusal without a message or a reason"),
    ],
)
def test_wrong_answers_are_told_from_proper_ones(status: int, body: Any, wrong: str) -> None:
    assert problem(Answer(status, body, b"", HTTPMessage())) == wrong


@pytest.mark.long
@pytest.mark.timeout(SECONDS * 4 + 240)
def test_no_request_that_the_served_documents_allow_or_forbid_ends_in_an_internal_error(api: Api) -> None:
    documents = api.get("/openapi/v3")["paths"]
    operations = [
        operation
        for name, place in documents.items()
        for operation in served_operations(api.get(place["serverRelativeURL"]), api.namespace, dry=name in _DRY)
    ]
    told: Counter[int] = Counter()
    wrong: dict[str, str] = {}
    rounds = [_round(api, operation, told, wrong) for operation in operations]
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        random.shuffle(rounds)
        for tell in rounds:
            if time.monotonic() >= ends:
                break
            tell()
    print(f"{len(operations)} operations, {told.total()} requests: {dict(sorted(told.items()))}")
    assert not wrong, "\n\n".join(wrong.values())
    assert {200, 201, 400, 404, 422} <= told.keys()


def _round(api: Api, operation: Served, told: Counter[int], wrong: dict[str, str]) -> Callable[[], None]:
    """Some requests of one operation; the first wrong answer of each is kept."""

    @ROUND
    @given(operation.requests, st.lists(st.integers(0, 10_000), max_size=8), _names)
    def tell(case: Case, picks: list[int], name: str) -> None:
        operation.seed(api)
        for body in operation.bodies(case, picks):
            answer = operation.send(api, case, body, name)
            told[answer.status] += 1
            found = problem(answer)
            if found:
                shown = f"{case.method} {case.formatted_path} {name} {case.query} {case.media_type} {body!r}"
                wrong.setdefault(operation.label, f"{found}: {shown}\n{answer.raw[:500]!r}")

    return tell


def problem(answer: Answer) -> str:
    """What is wrong with an answer; nothing if it is a proper one, as the time-out of a list of a version to come is."""
    if answer.status < 400:
        return ""
    body = answer.body
    if not isinstance(body, dict) or body.get("kind") != "Status" or body.get("code") != answer.status:
        return "a refusal that is no Status"
    if not body.get("message") or not body.get("reason"):
        return "a refusal without a message or a reason"
    if answer.status >= 500 and (answer.status, body["reason"]) != (504, "Timeout"):
        return "an internal error"
    return ""
