"""Tenants with weights 1, 1, 2 and 4 under saturation: what each borrows, and how soon an owner gets back its own.

``team-a`` has five times as many pods waiting as the others. Beside it the same without turns by share. Simulated; see
``tensorfusion.testing.fairness``. ``--svg FILE`` draws who holds how much over time.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from tensorfusion.testing.charts import Axis, lines
from tensorfusion.testing.fairness import OWNER, Outcome, Scenario, Tenant, borrowed_by_weight, jain, simulate

TENANTS = (
    Tenant("team-a", weight=1, backlog=25),
    Tenant("team-b", weight=1),
    Tenant("team-c", weight=2),
    Tenant("team-d", weight=4),
)
START = 1_200.0
"""Seconds after which everybody's first pods are over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    rows = []
    for fair in (True, False):
        for seed in range(options.seeds):
            scenario = Scenario(TENANTS, fair=fair, seed=seed)
            outcome = simulate(scenario)
            rows.append(row(scenario, outcome))
            if fair and seed == 0 and options.svg is not None:
                options.svg.write_text(chart(scenario, outcome))
    print("ORDER    SEED  " + "  ".join(f"{one.name} (x{one.weight})" for one in TENANTS) + "  JAIN   WORST %  WAIT S")
    for one in rows:
        amounts = "  ".join(f"{one['borrowed'][tenant.name]:>11.2f}" for tenant in TENANTS)
        print(
            f"{one['order']:<8} {one['seed']:>4}  {amounts}  {one['jain']:.3f}  {one['worst_percent']:>7.1f}  "
            f"{one['owner_longest_wait']:>6.1f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


def row(scenario: Scenario, outcome: Outcome) -> dict[str, Any]:  # Any: JSON
    """The figures of one run."""
    by_weight = borrowed_by_weight(scenario, outcome, START, scenario.comes)
    values = list(by_weight.values())
    mean = sum(values) / len(values)
    return {
        "order": "share" if scenario.fair else "arrival",
        "seed": scenario.seed,
        "borrowed": {one.name: by_weight[one.name] * one.weight for one in scenario.tenants},
        "jain": jain(values),
        "worst_percent": max(abs(value - mean) for value in values) / mean * 100,
        "evicted": outcome.evicted,
        "owner_longest_wait": max(outcome.owner_waits, default=0.0),
        "most_below_own": -outcome.least_own,
    }


def chart(scenario: Scenario, outcome: Outcome) -> str:
    """Devices held over time, each point the average of three minutes."""
    step = 180.0
    ends = [step * (number + 1) for number in range(int(scenario.length / step))]
    names = {one.name: f"{one.name}, weight {one.weight}" for one in scenario.tenants} | {OWNER: OWNER}
    series = {
        words: [((end - step / 2) / 3_600, float(outcome.average(name, end - step, end))) for end in ends]
        for name, words in names.items()
    }
    return lines(
        f"Who holds how many of {scenario.nodes * scenario.devices} devices", series, x=Axis("hours"), y=Axis("devices")
    )


if __name__ == "__main__":
    main()
