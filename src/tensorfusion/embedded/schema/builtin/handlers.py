"""Rules of what is called or run beside a container: probes and the steps of its life.

Source: kubernetes pkg/apis/core/validation, texts seen through a real server.
"""

import re

from tensorfusion.embedded.schema.builtin.ports import port_name
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import FORBIDDEN, REQUIRED, complain, forbidden, invalid_value, required
from tensorfusion.model.meta import Raw

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_OF_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_OF_STEPS = ("exec", "httpGet", "tcpSocket", "sleep")
_HEADER = re.compile(r"[-A-Za-z0-9]+")
_MOST_PORT = 65535
_INIT = "may not be set for init containers without restartPolicy=Always"


def check_probes(container: Raw, path: Path, problems: list[Problem], *, init: bool) -> None:
    for field in _PROBES:
        probe = container.get(field)
        if probe is None:
            continue
        at: Path = (path, field)
        if init:
            problems.append(Problem(at, forbidden(_INIT), FORBIDDEN))
        _check_action(probe, _OF_PROBES, at, problems)
        if field != "readinessProbe" and probe.get("successThreshold", 1) > 1:
            complain(problems, (at, "successThreshold"), probe["successThreshold"], ["must be 1"])
        if field == "readinessProbe" and probe.get("terminationGracePeriodSeconds") is not None:
            text = invalid_value(probe["terminationGracePeriodSeconds"], "must not be set for readinessProbes")
            problems.append(Problem((at, "terminationGracePeriodSeconds"), text))


def check_lifecycle(lifecycle: Raw, path: Path, problems: list[Problem], *, init: bool, grace: int) -> None:
    """``grace``: the seconds that the pod has to end."""
    if init:
        problems.append(Problem(path, forbidden(_INIT), FORBIDDEN))
    for field in ("postStart", "preStop"):
        action = lifecycle.get(field)
        if action is None:
            continue
        at: Path = (path, field)
        _check_action(action, _OF_STEPS, at, problems)
        seconds = (action.get("sleep") or {}).get("seconds", 0)
        if not 0 <= seconds <= grace:
            why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            complain(problems, (at, "sleep"), seconds, [why])


def _check_action(action: Raw, handlers: tuple[str, ...], path: Path, problems: list[Problem]) -> None:
    found = [handler for handler in handlers if handler in action]
    if not found:
        problems.append(Problem(path, required("must specify a handler type"), REQUIRED))
        return
    text = forbidden("may not specify more than 1 handler type")
    problems += [Problem((path, extra), text, FORBIDDEN) for extra in found[1:]]
    first = found[0]
    at: Path = (path, first)
    if first in ("httpGet", "tcpSocket") or (first == "grpc" and "port" not in action[first]):
        _check_port(action[first].get("port", 0), (at, "port"), problems)
    for header in action[first].get("httpHeaders") or ():
        name = header.get("name", "")
        if not _HEADER.fullmatch(name):
            why = (
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used "
            )
            complain(problems, (at, "httpHeaders"), name, [f"{why}for validation is '{_HEADER.pattern}')"])


def _check_port(port: int | str, path: Path, problems: list[Problem]) -> None:
    if isinstance(port, str):
        complain(problems, path, port, port_name(port))
    elif not 1 <= port <= _MOST_PORT:
        complain(problems, path, port, [f"must be between 1 and {_MOST_PORT}, inclusive"])
