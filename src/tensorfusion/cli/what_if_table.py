"""The answer to ``tensorfusion what-if`` for people: how it was, an arrow, how it would have been."""

from typing import Any

from tensorfusion.cli.session import table_lines

_HEADER = ("SIZE", "ARRIVED", "PLACED", "NEVER PLACED", "WAIT P50", "P90", "P99")
_MINUTE, _HOUR = 60, 3600


def lines(found: dict[str, Any]) -> list[str]:  # Any: JSON
    """The answer, line by line."""
    was, would = found["baseline"], found["changed"]
    rows = [
        [
            name,
            _both(one["arrived"], other["arrived"]),
            _both(one["placed"], other["placed"]),
            _both(one["never"], other["never"]),
            *(_both(_time(one[key]), _time(other[key])) for key in ("wait_p50", "wait_p90", "wait_p99")),
        ]
        for name in [*(name for name in would["sizes"] if name != "all"), "all"]
        for one, other in [(was["sizes"].get(name, would["sizes"][name]), would["sizes"][name])]
    ]
    return [
        *_period(found),
        "",
        *table_lines(_HEADER, rows),
        "",
        *table_lines(("", "AS IT WAS", "WITH THE CHANGE"), _figures(was, would)),
        "",
        *_trust(found),
    ]


def _period(found: dict[str, Any]) -> list[str]:  # Any: JSON
    period, pods = found["period"], found["pods"]
    length = f"{period['from']} to {period['to']} ({_time(period['seconds'])})"
    others = f", {pods['placedByOthers']} were placed by others" if pods["placedByOthers"] else ""
    told = [f"{length}: {pods['arrived']} pods arrived, {pods['there']} were there already{others}"]
    return told + [f"nothing was recorded from {gap['from']} to {gap['to']}" for gap in found["gaps"]]


def _figures(was: dict[str, Any], would: dict[str, Any]) -> list[list[object]]:  # Any: JSON
    rows: list[list[object]] = [
        ["GPUs (mean)", was["gpus"], would["gpus"]],
        ["idle GPUs (mean)", *(f"{one['idleGpus']} ({one['idlePercent']} %)" for one in (was, would))],
        ["GPUs taken, shares as parts (mean)", was["takenGpus"], would["takenGpus"]],
        ["cost", *(f"${one['costUsd']:.2f} for {one['gpuHours']} GPU hours" for one in (was, would))],
    ]
    for key, words in (
        ("evicted", "evictions for more important pods"),
        ("displaced", "pods whose node is not there: placed anew"),
        ("dropped", "pods that only that node can run: left out"),
        ("notResized", "live changes without room"),
    ):
        if was[key] or would[key]:
            rows.append([words, was[key], would[key]])
    return rows


def _trust(found: dict[str, Any]) -> list[str]:  # Any: JSON
    """How near the replay comes to what happened, and what is not known."""
    fidelity, pods = found["fidelity"], found["pods"]
    one, other = fidelity["recorded"], fidelity["replayed"]
    waits = [" / ".join(_time(side[key]) for key in ("wait_p50", "wait_p90", "wait_p99")) for side in (one, other)]
    first = (
        f"the replay against the record: placed {other['placed']}, recorded {one['placed']}; "
        f"wait p50 / p90 / p99 {waits[1]}, recorded {waits[0]}; "
        f"GPUs taken {other['takenGpus']}, recorded {one['takenGpus']}"
    )
    told = [first]
    if fidelity["sameWaitPercent"] is not None:
        told.append(f"{fidelity['sameWaitPercent']} % of the pods waited as long as recorded, to within a second")
    unknown = pods["runningAtTheEnd"] + pods["neverPlaced"]
    if unknown:
        told.append(
            f"how long {unknown} pods run is not known ({pods['runningAtTheEnd']} ran at the end, "
            f"{pods['neverPlaced']} had no place): drawn from finished ones of their size, seed {found['seed']}"
        )
    without = sorted({*found["baseline"]["withoutPrice"], *found["changed"]["withoutPrice"]})
    if without:
        told.append(f"no price is known of {', '.join(without)}: they cost nothing here")
    return told


def _both(was: object, would: object) -> str:
    return str(was) if was == would else f"{was} -> {would}"


def _time(seconds: float | None) -> str:
    """A time for people; None never came."""
    if seconds is None:
        return "never"
    if seconds < _MINUTE:
        return f"{seconds:.3g}s" if seconds else "0s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
