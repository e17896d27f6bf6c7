"""What routing costs a request: finding the route, choosing a target, and keeping account of one attempt.

Processor time of one core, the best of five runs, in microseconds. ``match`` finds one of 100 routes in ten namespaces,
for callers and models that were seen before; ``match_new`` looks for models that nobody serves and nobody asked for
yet. ``request`` is the whole of a request that succeeds at once: attempts, next, started, first_token, ended.
``matcher`` is an expression that Python's ``re`` could go back and forth on for ever, over 4,096 characters. Goals:
match 5 us, request 8 us with two targets.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import process_time

from _report import Row, report
from tensorfusion.policy.routing.asks import Ask, Caller, Outcome
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.compiler import compile_route
from tensorfusion.policy.routing.patterns import LONGEST_MESSAGE, BoundedPattern
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.policy.routing.state import Attempts
from tensorfusion.testing.routing import written

GOAL_MATCH, GOAL_REQUEST = 5.0, 8.0
_STRATEGIES = ("weighted", "round-robin", "priority", "cost-optimized", "latency-optimized")


def microseconds(count: int, work: Callable[[int], object]) -> float:
    """Processor time of one call, the best of five rounds of so many."""
    best = float("inf")
    for _ in range(5):
        started = process_time()
        for turn in range(count):
            work(turn)
        best = min(best, process_time() - started)
    return best / count * 1e6


def matching(count: int) -> list[Row]:
    routes = Routes.compile(
        written(f"r{place}", f"ns{place % 10}", selector={"modelPattern": f"^model-{place}$"}) for place in range(100)
    )
    callers = [Caller(f"ns{place % 10}", "ann", f"k{place}") for place in range(100)]
    asks = [Ask(f"model-{place}") for place in range(100)]
    new = [Ask(f"model-{place % 100}-{place}") for place in range(count * 5)]
    fresh = iter(new)
    seen = microseconds(count, lambda turn: routes.match(callers[turn % 100], asks[turn % 100]))
    unseen = microseconds(count, lambda turn: routes.match(callers[turn % 100], next(fresh)))
    parameters = {"routes": 100, "namespaces": 10}
    return [
        Row("match", seen, "us", "goal", GOAL_MATCH, parameters),
        Row("match_new", unseen, "us", "", None, parameters),
    ]


def choosing(strategy: str, targets: int, count: int) -> Row:
    chooser = Chooser(
        compile_route(
            written(
                strategy=strategy,
                targets=[
                    {
                        "name": f"t{place}",
                        "weight": 1 + place * 7 % 100,
                        "priority": place,
                        "costPer1MInput": "1",
                        "costPer1MOutput": "2",
                    }
                    for place in range(targets)
                ],
            )
        )
    )
    ask, outcome = Ask("m", 100), Outcome(seconds=0.1, prompt_tokens=100, completion_tokens=50)

    def request(turn: int) -> None:
        now = 100 + turn / 1000
        target = chooser.next(ask, now, Attempts(), random=0.5)
        if target is not None:
            ticket = chooser.started(target, now)
            chooser.first_token(ticket, now)
            chooser.ended(ticket, now, outcome)

    spent = microseconds(count, request)
    return Row("request", spent, "us", "goal", GOAL_REQUEST, {"strategy": strategy, "targets": targets})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="calls a round")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    rows = matching(arguments.count)
    rows += [choosing(strategy, targets, arguments.count) for strategy in _STRATEGIES for targets in (2, 8, 64)]
    pattern, text = BoundedPattern("(a+)+$", LONGEST_MESSAGE), "a" * (LONGEST_MESSAGE - 1) + "!"
    spent = microseconds(20, lambda _: pattern.found_in(text))
    rows.append(Row("matcher", spent, "us", "", None, {"expression": pattern.source, "characters": len(text)}))
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
