"""Rules of Services. Addresses are allocated by the server; here only what a client wrote is looked at.

Source: kubernetes pkg/apis/core/validation (ValidateService), texts seen through a real server.
"""

import ipaddress
from collections.abc import Sequence

from tensorfusion.embedded.schema.addresses import canonical_address
from tensorfusion.embedded.schema.builtin.ports import port_name
from tensorfusion.embedded.schema.metadata import check_labels
from tensorfusion.embedded.schema.names import label, qualified_name
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
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_A_DAY = 86400
_LINK_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))
_PORT_TEXT = "must be between 1 and 65535, inclusive"
IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def check_service(service: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = service.get("spec") or {}
    kind, ports, address = spec.get("type", "ClusterIP"), spec.get("ports") or (), spec.get("clusterIP", "")
    headless = address == "None"
    if kind == "ExternalName":
        if not spec.get("externalName"):
            problems.append(Problem((_SPEC, "externalName"), required(), REQUIRED))
    elif not ports and not headless:
        problems.append(Problem(_PORTS, required(), REQUIRED))
    _check_addresses(spec, kind, problems)
    _check_balancer(spec, kind, problems)
    if kind != "ExternalName":  # what is ignored is not looked at
        problems[:] = [problem for problem in problems if problem.path != (_SPEC, "externalName")]
    _check_reach(spec, kind, problems)
    _check_ports(ports, kind, problems)
    check_labels(spec.get("selector") or {}, (_SPEC, "selector"), problems)
    if old is not None:
        _check_address_update(spec, old.get("spec") or {}, problems)


def _check_reach(spec: Raw, kind: str, problems: list[Problem]) -> None:
    """From where a service is reached, and by which addresses."""
    traffic = spec.get("externalTrafficPolicy")
    if traffic and (kind == "ExternalName" or (kind == "ClusterIP" and not spec.get("externalIPs"))):
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
            complain(problems, ((_SPEC, "externalIPs"), index), external, [IP_TEXT])
        else:
            complain(problems, ((_SPEC, "externalIPs"), index), external, not_outside(external))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        text = unsupported(distribution, _DISTRIBUTIONS)
        problems.append(Problem((_SPEC, "trafficDistribution"), text, NOT_SUPPORTED))
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds", 1)
    if spec.get("sessionAffinity") == "ClientIP" and not 0 < seconds <= _A_DAY:
        at: Path = (((_SPEC, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds")
        if not any(problem.path == at for problem in problems):
            complain(problems, at, seconds, ["must be greater than 0 and less than 86400"])


def _check_addresses(spec: Raw, kind: str, problems: list[Problem]) -> None:
    """The cluster's addresses of a service, which its author may choose."""
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    at: Path = (_SPEC, "clusterIPs")
    if kind == "ExternalName":
        if address or addresses:
            problems.append(Problem(at, forbidden("may not be set for ExternalName services"), FORBIDDEN))
        return
    if addresses and not address:
        complain(problems, at, addresses, ["must be empty when `clusterIP` is not specified"])
    elif addresses and addresses[0] != address:
        complain(problems, at, addresses, ["first value must match `clusterIP`"])
    found = addresses or ([address] if address else [])
    if found[:1] == ["None"]:
        if kind in ("NodePort", "LoadBalancer"):
            complain(problems, (at, 0), "None", [f"may not be set to 'None' for {kind} services"])
        return
    for index, one in enumerate(found):
        if not _is_address(one):
            complain(problems, (at, index), one, [IP_TEXT])


def _check_balancer(spec: Raw, kind: str, problems: list[Problem]) -> None:
    """What is said of load balancers, and means nothing elsewhere."""
    only = forbidden("may only be used when `type` is 'LoadBalancer'")
    balanced = kind == "LoadBalancer"
    at: Path = (_SPEC, "LoadBalancerSourceRanges")
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if ranges and not balanced:
        problems.append(Problem(at, only, FORBIDDEN))
    for index, one in enumerate(ranges):
        if not _is_network(one):
            complain(problems, (at, index), one, ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"])
    problems.extend(
        Problem((_SPEC, field), only, FORBIDDEN)
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass")
        if spec.get(field) is not None and not balanced
    )
    if balanced and spec.get("loadBalancerClass") is not None:
        complain(
            problems, (_SPEC, "loadBalancerClass"), spec["loadBalancerClass"], qualified_name(spec["loadBalancerClass"])
        )
    health = spec.get("healthCheckNodePort")
    if health and not (balanced and spec.get("externalTrafficPolicy") == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        complain(problems, (_SPEC, "healthCheckNodePort"), health, [why])


def not_outside(text: str) -> list[str]:
    """Why an address cannot be reached from outside; it is one, as ``canonical_address`` says."""
    address = ipaddress.ip_address(canonical_address(text) or text)
    if address.is_unspecified:
        return [f"may not be unspecified ({'0.0.0.0' if address.version == 4 else '::'})"]  # noqa: S104
    if address.is_loopback:
        return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
    if address.is_link_local:
        return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]
    if any(address in network for network in _LINK_MULTICAST if network.version == address.version):
        return ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]
    return []


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
        if not port.get("port"):
            complain(problems, (at, "port"), 0, [_PORT_TEXT] if "port" not in port else [])
            if "targetPort" not in port:
                complain(problems, (at, "targetPort"), 0, [_PORT_TEXT])
        number = (port.get("protocol", "TCP"), port.get("port"))
        if number in numbers:
            shown = {"port": number[1], "protocol": number[0]}
            problems.append(Problem(at, duplicate(shown), DUPLICATE))
        numbers.add(number)
        target = port.get("targetPort")
        if isinstance(target, str):
            complain(problems, (at, "targetPort"), target, port_name(target))
        elif target is not None and not 1 <= target <= 65535:
            complain(problems, (at, "targetPort"), target, [_PORT_TEXT])
        if port.get("nodePort") and kind in ("ClusterIP", "ExternalName"):
            text = forbidden(f"may not be used when `type` is '{kind}'")
            problems.append(Problem((at, "nodePort"), text, FORBIDDEN))


def _check_address_update(spec: Raw, old: Raw, problems: list[Problem]) -> None:
    """The address of a service that keeps its type is for its whole life."""
    before, after = old.get("clusterIP"), spec.get("clusterIP")
    if before and before != after and "ExternalName" not in (spec.get("type"), old.get("type")):
        complain(problems, ((_SPEC, "clusterIPs"), 0), [after], ["may not change once set"])


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
