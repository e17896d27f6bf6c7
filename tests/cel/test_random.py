"""Random expressions get the same answer from ours and from Kubernetes' CEL, which is built for it (needs go)."""

import re
import shutil
from typing import Any

import pytest
from cel_cases import Request
from cel_expressions import broken, request
from cel_oracle import ask
from cel_ours import comparable, ours
from cel_schemas import requests_about_schemas

EXPRESSIONS = 30_000
TIMES = 3  # what Kubernetes answers differently from time to time has no right answer
BATCH = 3_000
# Where ours is another on purpose: their crashes, the Go names of types that cannot be an index, odd keys of maps, which
# they take, the numbers of their type variables, and an optional of an optional of nothing, which they make null.
OTHERWISE = re.compile(
    r"internal error|invalid qualifier type|unsupported conversion to ref.Val|unsupported key type|\(_var"
    r"|panic|'\*cel\.|\{'optional': \{'null'"
)
# A typed list or map that dyn() lets compare with something else is an error there, and false here.
COMPARED = "no such overload"
# An error that was absorbed makes the cost another one.
ABSORBING = re.compile(r"&&|\|\||\.(all|exists|exists_one|existsOne)\(|has\(| in |\?")
SYNTAX = re.compile(r"ERROR: <input>:\d+:\d+: Syntax error: [^\n]*(?:\n[^ E][^\n]*)*")
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")


def test_the_same_seed_gives_the_same_expression() -> None:
    assert [request(seed) for seed in range(50)] == [request(seed) for seed in range(50)]
    assert [broken(seed) for seed in range(50)] == [broken(seed) for seed in range(50)]


@pytest.mark.long
@needs_go
@pytest.mark.parametrize("start", range(0, EXPRESSIONS, BATCH))
def test_random_expressions_get_the_same_answer(start: int) -> None:
    requests = [request(seed) for seed in range(start, start + BATCH)]
    rounds = [ask(requests, may_crash=True) for _ in range(TIMES)]
    compared, found = 0, []
    for asked, *answers in zip(requests, *rounds, strict=True):
        if all(answer == answers[0] for answer in answers):
            compared += 1
            found += disagreement(asked, answers[0])
    assert compared > BATCH * 0.9
    assert not found, f"{len(found)} differ, the shortest:\n" + "\n".join(sorted(found, key=len)[:5])


def disagreement(asked: Request, answer: dict[str, Any]) -> list[str]:
    costs = asked.get("costs", True) and ABSORBING.search(asked["expression"]) is None
    wanted, got = comparable(answer, costs=costs), comparable(ours(asked), costs=costs)
    if "Syntax error" in wanted.get("compile_error", ""):
        wanted, got = ({"compile_error": syntax(found)} for found in (wanted, got))
    typed = "schema" in asked["variables"]["self"]
    compared = typed and wanted.get("error") == COMPARED and "dyn(" in asked["expression"]
    if wanted == got or compared or OTHERWISE.search(f"{wanted}{got}"):
        return []
    return [f"{asked['expression']}\n  wanted {wanted}\n  found  {got}"]


@pytest.mark.long
@needs_go
def test_expressions_about_random_schemas_get_the_same_answer() -> None:
    """But for whole objects as values: theirs hide some fields even from dyn(), ours do not."""
    requests = [asked for seed in range(BATCH) for asked in requests_about_schemas(seed)]
    found: list[str] = []
    for asked, answer in zip(requests, ask(requests, may_crash=True), strict=True):
        if "{'map'" not in str(answer.get("value")):
            found += disagreement(asked, answer)
    assert not found, f"{len(found)} differ, the shortest:\n" + "\n".join(sorted(found, key=len)[:5])


@pytest.mark.long
@needs_go
def test_complaints_about_broken_text_are_the_same() -> None:
    requests: list[Request] = [{"expression": broken(seed)} for seed in range(BATCH)]
    found = []
    for asked, answer in zip(requests, ask(requests, may_crash=True), strict=True):
        wanted, got = syntax(answer), syntax(ours(asked))
        if wanted != got:
            found.append(f"{asked['expression']!r}\n  wanted {wanted}\n  found  {got}")
    assert not found, f"{len(found)} differ, the shortest:\n" + "\n".join(sorted(found, key=len)[:5])


def syntax(answer: dict[str, Any]) -> list[str]:
    """The syntax errors; wrong macros are not looked for beside them."""
    return SYNTAX.findall(answer.get("compile_error", ""))
