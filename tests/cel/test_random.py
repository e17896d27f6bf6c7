"""Random expressions get the same answer from ours and from Kubernetes' CEL, which is built for it (needs go)."""

import shutil

import pytest
from cel_expressions import request
from cel_oracle import ask
from cel_ours import comparable, ours

EXPRESSIONS = 30_000
TIMES = 3  # what Kubernetes answers differently from time to time has no right answer
BATCH = 3_000


def test_the_same_seed_gives_the_same_expression() -> None:
    assert [request(seed) for seed in range(50)] == [request(seed) for seed in range(50)]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")
@pytest.mark.parametrize("start", range(0, EXPRESSIONS, BATCH))
def test_random_expressions_get_the_same_answer(start: int) -> None:
    requests = [request(seed) for seed in range(start, start + BATCH)]
    rounds = [ask(requests) for _ in range(TIMES)]
    steady = [
        (asked, answers[0])
        for asked, *answers in zip(requests, *rounds, strict=True)
        if all(answer == answers[0] for answer in answers)
    ]
    assert len(steady) > BATCH * 0.9
    found = [
        f"{asked['expression']}\n  wanted {wanted}\n  found  {got}"
        for asked, answer in steady
        if (got := comparable(ours(asked))) != (wanted := comparable(answer))
    ]
    assert not found, f"{len(found)} differ, the shortest:\n" + "\n".join(sorted(found, key=len)[:5])
