"""Rules of the objects of Dynamic Resource Allocation: requests of one form each, names that exist, fixed specs.

CEL selectors are not compiled here: whoever allocates devices says so in the claim.

Source: kubernetes pkg/apis/resource/validation, texts seen through a real server.
"""

from collections.abc import Sequence

from tensorfusion.embedded.schema.names import label, subdomain
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    IMMUTABLE,
    INVALID,
    REQUIRED,
    complain,
    duplicate,
    invalid_value,
    required,
)
from tensorfusion.model.meta import Raw

_SPEC: Path = (None, "spec")
_UNKNOWN = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_WHERE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_ONE_PLACE = f"exactly one of {', '.join(f'`{field}`' for field in _WHERE)} is required"
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"


def check_resource_claim(claim: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_claim_spec(claim.get("spec") or {}, _SPEC, problems)
    _check_fixed(claim, old, problems)


def check_claim_template(template: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_claim_spec((template.get("spec") or {}).get("spec") or {}, (_SPEC, "spec"), problems)
    _check_fixed(template, old, problems)


def _check_fixed(obj: Raw, old: Raw | None, problems: list[Problem]) -> None:
    if old is not None and obj.get("spec") != old.get("spec"):
        complain(problems, _SPEC, obj.get("spec"), [IMMUTABLE])


def _check_claim_spec(spec: Raw, path: Path, problems: list[Problem]) -> None:
    devices = spec.get("devices") or {}
    requests = devices.get("requests") or ()
    at: Path = (path, "devices")
    _check_names(requests, (at, "requests"), problems)
    known: set[str] = set()
    for index, request in enumerate(requests):
        at_request: Path = ((at, "requests"), index)
        exactly, first = request.get("exactly"), request.get("firstAvailable") or ()
        if exactly is not None and first:
            text = f"Invalid value: {_ONE_OF}, but multiple fields are set"
            problems.append(Problem(at_request, text))
        elif exactly is None and not first:
            problems.append(Problem(at_request, required(_ONE_OF), REQUIRED))
        if exactly is not None:
            _check_count(exactly, (at_request, "exactly"), problems)
        _check_names(first, (at_request, "firstAvailable"), problems)
        for number, choice in enumerate(first):
            _check_count(choice, ((at_request, "firstAvailable"), number), problems)
        name = request.get("name", "")
        known |= {name, *(f"{name}/{choice.get('name', '')}" for choice in first)}
    for field in ("constraints", "config"):
        for index, item in enumerate(devices.get(field) or ()):
            for number, name in enumerate(item.get("requests") or ()):
                if name not in known:
                    complain(problems, ((((at, field), index), "requests"), number), name, [_UNKNOWN])


def _check_names(items: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        name = item.get("name", "")
        if not name:
            complain(problems, ((path, index), "name"), name, label(name))
        elif name in seen:
            problems.append(Problem(((path, index), "name"), duplicate(name), DUPLICATE))
        seen.add(name)


def _check_count(request: Raw, path: Path, problems: list[Problem]) -> None:
    count = request.get("count", 0)
    if request.get("allocationMode") == "All" and count:
        text = "must not be specified when allocationMode is 'All'"
        complain(problems, (path, "count"), count, [text])


def check_resource_slice(resource_slice: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = resource_slice.get("spec") or {}
    places = [field for field in _WHERE if spec.get(field)]
    problems.extend(
        Problem((_SPEC, field), invalid_value(False, "must be either unset or set to true"))
        for field in ("allNodes", "perDeviceNodeSelection")
        if spec.get(field) is False
    )
    if not places:
        if not any(problem.path == _SPEC for problem in problems):
            problems.append(Problem(_SPEC, required(_ONE_PLACE), REQUIRED))
    elif len(places) > 1:
        shown = f"{{{', '.join(f'`{field}`' for field in places)}}}"
        complain(problems, _SPEC, shown, [f"{_ONE_PLACE}, but multiple fields are set"])
    if not spec.get("driver"):
        complain(problems, (_SPEC, "driver"), "", subdomain(""))
    if "resourceSliceCount" not in (spec.get("pool") or {}):
        complain(problems, ((_SPEC, "pool"), "resourceSliceCount"), 0, ["must be greater than zero"])
    devices = spec.get("devices") or ()
    _check_names(devices, (_SPEC, "devices"), problems)
    for index, device in enumerate(devices):
        for name, attribute in (device.get("attributes") or {}).items():
            if len(attribute) != 1:
                at: Path = ((((_SPEC, "devices"), index), "attributes"), Member(name))
                text = "exactly one value must be specified"
                known = required(text) if not attribute else invalid_value(attribute, text)
                problems.append(Problem(at, known, INVALID if attribute else REQUIRED))
    if old is None:
        return
    before = old.get("spec") or {}
    if (spec.get("pool") or {}).get("name") != (before.get("pool") or {}).get("name"):
        complain(problems, ((_SPEC, "pool"), "name"), (spec.get("pool") or {}).get("name"), [IMMUTABLE])
    for field in ("driver", "nodeName"):
        if spec.get(field) != before.get(field):
            complain(problems, (_SPEC, field), spec.get(field), [IMMUTABLE])
