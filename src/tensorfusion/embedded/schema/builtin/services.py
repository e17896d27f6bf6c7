"""Rules of Services. Addresses are allocated by the server; here only what a client wrote is looked at.

Source: kubernetes pkg/apis/core/validation (ValidateService), texts seen through a real server.
"""

import ipaddress
from collections.abc import Sequence

from tensorfusion.embedded.schema.addresses import canonical_address
from tensorfusion.embedded.schema.builtin.ports import port_name
from tensorfusion.embedded.schema.metadata import check_labels
from tensorfusion.embedded.schema.names import label
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    duplicate,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

_SPEC: Path = (None, "spec")
_PORTS: Path = (_SPEC, "ports")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_FAMILIES = ("IPv4", "IPv6")
_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def check_service(service: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = service.get("spec") or {}
    kind, ports, address = spec.get("type", "ClusterIP"), spec.get("ports") or (), spec.get("clusterIP", "")
    headless = address == "None"
    if kind == "ExternalName":
        if not spec.get("externalName"):
            problems.append(Problem((_SPEC, "externalName"), required(), REQUIRED))
    elif not ports and not headless:
        problems.append(Problem(_PORTS, required(), REQUIRED))
    if headless and kind in ("NodePort", "LoadBalancer"):
        text = f"may not be set to 'None' for {kind} services"
        complain(problems, ((_SPEC, "clusterIPs"), 0), address, [text])
    elif address and not headless and not _is_address(address):
        complain(problems, ((_SPEC, "clusterIPs"), 0), address, [_IP_TEXT])
    if kind != "ExternalName":  # what is ignored is not looked at
        problems[:] = [problem for problem in problems if problem.path != (_SPEC, "externalName")]
    traffic = spec.get("externalTrafficPolicy")
    if traffic and kind == "ClusterIP" and not spec.get("externalIPs"):
        why = "may only be set for externally-accessible services"
        complain(problems, (_SPEC, "externalTrafficPolicy"), traffic, [why])
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        text = unsupported(policy, _FAMILY_POLICIES)
        problems.append(Problem((_SPEC, "ipFamilyPolicy"), text, NOT_SUPPORTED))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in _FAMILIES:
            problems.append(Problem(((_SPEC, "ipFamilies"), index), unsupported(family, _FAMILIES), NOT_SUPPORTED))
    for index, external in enumerate(spec.get("externalIPs") or ()):
        if canonical_address(external) is None:
            complain(problems, ((_SPEC, "externalIPs"), index), external, [_IP_TEXT])
    _check_ports(ports, kind, problems)
    check_labels(spec.get("selector") or {}, (_SPEC, "selector"), problems)
    if old is not None:
        _check_address_update(spec, old.get("spec") or {}, problems)


def _check_ports(ports: Sequence[Raw], kind: str, problems: list[Problem]) -> None:
    names: set[str] = set()
    numbers: set[tuple[object, object]] = set()
    for index, port in enumerate(ports):
        at: Path = (_PORTS, index)
        name = port.get("name")
        if not name and len(ports) > 1:
            problems.append(Problem((at, "name"), required(), REQUIRED))
        elif name:
            complain(problems, (at, "name"), name, label(name))
            if name in names:
                problems.append(Problem((at, "name"), duplicate(name), DUPLICATE))
            names.add(name)
        number = (port.get("protocol", "TCP"), port.get("port"))
        if number in numbers:
            shown = {"port": number[1], "protocol": number[0]}
            problems.append(Problem(at, duplicate(shown), DUPLICATE))
        numbers.add(number)
        target = port.get("targetPort")
        if isinstance(target, str):
            complain(problems, (at, "targetPort"), target, port_name(target))
        elif target is not None and not 1 <= target <= 65535:
            complain(problems, (at, "targetPort"), target, ["must be between 1 and 65535, inclusive"])
        if port.get("nodePort") and kind in ("ClusterIP", "ExternalName"):
            text = forbidden(f"may not be used when `type` is '{kind}'")
            problems.append(Problem((at, "nodePort"), text, FORBIDDEN))


def _check_address_update(spec: Raw, old: Raw, problems: list[Problem]) -> None:
    """The address of a service that keeps its type is for its whole life."""
    before, after = old.get("clusterIP"), spec.get("clusterIP")
    if before and before != after and "ExternalName" not in (spec.get("type"), old.get("type")):
        complain(problems, ((_SPEC, "clusterIPs"), 0), after, ["may not change once set"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
