"""The same expressions, the same answers: ours against those that Kubernetes' CEL gave (``record_answers.py``).

Compared are the text of compile errors, the checked type, the value, the text of runtime errors, and the cost, estimated
and real.
"""

import json

import pytest
from cel_cases import ANSWERS_FILE, Request, all_requests
from cel_ours import comparable, ours

ANSWERS = json.loads(ANSWERS_FILE.read_text())
REQUESTS = all_requests()
NOT_OFFERED = all_requests(offered=False)
AREAS: dict[str, dict[str, Request]] = {}
for _key, _request in REQUESTS.items():
    AREAS.setdefault(_key.split(": ")[0], {})[_key] = _request
SHOWN = 10


def test_every_case_has_an_answer_and_every_answer_its_case() -> None:
    assert list(ANSWERS) == [*REQUESTS, *NOT_OFFERED]


@pytest.mark.parametrize("area", AREAS)
def test_kubernetes_says_the_same(area: str) -> None:
    found = []
    for key, request in AREAS[area].items():
        wanted, got = (comparable(answer, costs=request.get("costs", True)) for answer in (ANSWERS[key], ours(request)))
        if wanted != got:
            found.append(f"{key}\n  wanted {wanted}\n  found  {got}")
    assert not found, f"{len(found)} differ:\n" + "\n".join(found[:SHOWN])


@pytest.mark.parametrize("key", NOT_OFFERED)
def test_what_is_not_offered_is_refused_when_it_is_compiled(key: str) -> None:
    assert "compile_error" not in ANSWERS[key]
    assert "compilation failed" in ours(NOT_OFFERED[key])["compile_error"]
