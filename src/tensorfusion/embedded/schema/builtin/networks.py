"""Rules of ingresses, network policies, endpoint slices and autoscalers.

Source: kubernetes pkg/apis/{networking,discovery,autoscaling}/validation, texts seen through a real server.
"""

import ipaddress
import re
from collections.abc import Sequence

from tensorfusion.embedded.schema.builtin.metrics import check_metrics
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector
from tensorfusion.embedded.schema.names import path_segment, subdomain
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
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
INGRESS_CLASS = "kubernetes.io/ingress.class"
_WILDCARD = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_is_wildcard = re.compile(_WILDCARD).fullmatch
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    f"regex used for validation is '{_WILDCARD}')"
)
_LONGEST_HOST = 253
_DIRECTIONS = ("Ingress", "Egress")
_PORT_TEXT = "must be between 1 and 65535, inclusive"
_HIGHEST_PORT = 65535


def check_ingress(ingress: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = ingress.get("spec") or {}
    rules, backend = spec.get("rules") or (), spec.get("defaultBackend")
    if not rules and backend is None:
        complain(problems, _SPEC, None, ["either `defaultBackend` or `rules` must be specified"])
    if backend is not None:
        _check_backend(backend, (_SPEC, "defaultBackend"), problems)
    _check_names(ingress, spec, old, problems)
    wild = {(((_SPEC, "rules"), index), "host") for index, rule in enumerate(rules) if "*" in rule.get("host", "")}
    if wild and problems:
        problems[:] = [problem for problem in problems if problem.path not in wild]  # they have rules of their own
    for index, rule in enumerate(rules):
        at: Path = ((_SPEC, "rules"), index)
        host = rule.get("host", "")
        if host and _is_address(host):
            complain(problems, (at, "host"), host, ["must be a DNS name, not an IP address"])
        elif "*" in host:
            complain(problems, (at, "host"), host, _wildcard(host))
        for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            _check_path(path, (((at, "http"), "paths"), number), problems)


def _check_names(ingress: Raw, spec: Raw, old: Raw | None, problems: list[Problem]) -> None:
    """Hosts of certificates, and the class, which may be said in two ways."""
    for index, certificate in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(certificate.get("hosts") or ()):
            at: Path = ((((_SPEC, "tls"), index), "hosts"), number)
            complain(problems, at, host, _wildcard(host) if "*" in host else subdomain(host))
    annotated = ((ingress.get("metadata") or {}).get("annotations") or {}).get(INGRESS_CLASS)
    named = spec.get("ingressClassName")
    if old is None and annotated and named and annotated != named:
        why = "must match `ingressClassName` when both are specified"
        complain(problems, ((None, "annotations"), INGRESS_CLASS), annotated, [why])


def _wildcard(host: str) -> list[str]:
    """Complaints about a host that stands for all that are below another one."""
    return [] if _is_wildcard(host) and len(host) <= _LONGEST_HOST else [_WILDCARD_TEXT]


def _check_path(path: Raw, at: Path, problems: list[Problem]) -> None:
    kind, text = path.get("pathType"), path.get("path", "")
    if (kind in ("Exact", "Prefix") or text) and not text.startswith("/"):
        complain(problems, (at, "path"), text, ["must be an absolute path"])
    if kind in ("Exact", "Prefix"):
        for part in ("//", "/./", "/../", "%2f", "%2F"):
            if part in text:
                complain(problems, (at, "path"), text, [f"must not contain '{part}'"])
        for end in ("/..", "/."):
            if text.endswith(end):
                complain(problems, (at, "path"), text, [f"cannot end with '{end}'"])
    _check_backend(path.get("backend") or {}, (at, "backend"), problems)


def _check_backend(backend: Raw, path: Path, problems: list[Problem]) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if resource is not None and resource.get("apiGroup") == "":  # of another kind's references it may be empty
        complain(problems, ((path, "resource"), "apiGroup"), "", subdomain(""))
    if service is not None and resource is not None:
        complain(problems, path, "", ["cannot set both resource and service backends"])
    elif service is not None:
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            complain(problems, path, "", ["cannot set both port name & port number"])
        elif not port.get("name") and not port.get("number"):
            problems.append(Problem(path, required("port name or number is required"), REQUIRED))
    elif resource is None:
        complain(problems, path, "", ["resource or service backend is required"])


def check_network_policy(policy: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = policy.get("spec") or {}
    check_label_selector(spec.get("podSelector"), (_SPEC, "podSelector"), problems)
    for field, side in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(field) or ()):
            at: Path = ((_SPEC, field), index)
            for number, port in enumerate(rule.get("ports") or ()):
                _check_policy_port(port, ((at, "ports"), number), problems)
            for number, peer in enumerate(rule.get(side) or ()):
                _check_peer(peer, ((at, side), number), problems)
    types = spec.get("policyTypes") or ()
    if len(types) > len(_DIRECTIONS):
        complain(problems, (_SPEC, "policyTypes"), types, ["may not specify more than two policyTypes"])
        return
    for index, direction in enumerate(types):
        if direction not in _DIRECTIONS:
            text = unsupported(direction, _DIRECTIONS)
            problems.append(Problem(((_SPEC, "policyTypes"), index), text, NOT_SUPPORTED))


def _check_policy_port(port: Raw, path: Path, problems: list[Problem]) -> None:
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, int):
        if not 1 <= number <= _HIGHEST_PORT:
            complain(problems, (path, "port"), number, [_PORT_TEXT])
        if end is not None and end < number:
            complain(problems, (path, "endPort"), number, ["must be greater than or equal to `port`"])
    elif end is not None:
        why = "non-numeric" if number is not None else "not specified"
        complain(problems, (path, "endPort"), end, [f"may not be specified when `port` is {why}"])


def _check_peer(peer: Raw, path: Path, problems: list[Problem]) -> None:
    for field in ("podSelector", "namespaceSelector"):
        check_label_selector(peer.get(field), (path, field), problems)
    if not peer:
        problems.append(Problem(path, required("must specify a peer"), REQUIRED))
    elif "ipBlock" in peer and len(peer) > 1:
        text = forbidden("may not specify both ipBlock and another peer")
        problems.append(Problem(path, text, FORBIDDEN))
    block = peer.get("ipBlock")
    if block and block.get("cidr"):
        _check_block(block, (path, "ipBlock"), problems)


def _check_block(block: Raw, path: Path, problems: list[Problem]) -> None:
    whole = _network(block["cidr"])
    if whole is None:
        text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        complain(problems, (path, "cidr"), block["cidr"], [text])
        return
    for index, text in enumerate(block.get("except") or ()):
        at: Path = ((path, "except"), index)
        part = _network(text)
        if part is None:
            complain(problems, at, text, ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"])
        elif part.version != whole.version or part.prefixlen <= whole.prefixlen or not _contains(whole, part):
            complain(problems, at, text, ["must be a strict subset of `cidr`"])


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _contains(whole: _Network, part: _Network) -> bool:
    return part.network_address in whole


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_endpoint_slice(endpoint_slice: Raw, old: Raw | None, problems: list[Problem]) -> None:
    kind = endpoint_slice.get("addressType")
    for index, endpoint in enumerate(endpoint_slice.get("endpoints") or ()):
        at: Path = (((None, "endpoints"), index), "addresses")
        _check_addresses(kind, endpoint.get("addresses") or (), at, problems)
    names: set[str] = set()
    for index, port in enumerate(endpoint_slice.get("ports") or ()):
        name = port.get("name", "")
        if name in names:
            problems.append(Problem((((None, "ports"), index), "name"), duplicate(name), DUPLICATE))
        names.add(name)
    if old is not None and kind != old.get("addressType"):
        complain(problems, (None, "addressType"), kind, [IMMUTABLE])


def _check_addresses(kind: str | None, addresses: Sequence[str], path: Path, problems: list[Problem]) -> None:
    if kind not in ("IPv4", "IPv6"):
        return
    for index, address in enumerate(addresses):
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            complain(problems, (path, index), address, [text])
            continue
        if f"IPv{found.version}" != kind:
            complain(problems, path, address, [f"must be an {kind} address"])


def check_autoscaler(autoscaler: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = autoscaler.get("spec") or {}
    _check_scaled(spec.get("scaleTargetRef") or {}, (_SPEC, "scaleTargetRef"), problems)
    low, high = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    at: Path = (_SPEC, "maxReplicas")
    if high < 1:
        complain(problems, at, high, ["must be greater than 0"])
    if low is not None and high < low:
        complain(problems, at, high, ["must be greater than or equal to `minReplicas`"])
    check_metrics(spec.get("metrics") or (), (_SPEC, "metrics"), problems, to_zero=low == 0)
    for field in ("scaleUp", "scaleDown"):
        if (((spec.get("behavior") or {}).get(field)) or {}).get("policies") == []:
            text = required("must specify at least one Policy")
            problems.append(Problem((((_SPEC, "behavior"), field), "policies"), text, REQUIRED))


def _check_scaled(reference: Raw, at: Path, problems: list[Problem]) -> None:
    """What an autoscaler scales: an object that can be named in a path, of some group."""
    for field in ("kind", "name"):
        found = reference.get(field) or ""
        complain(problems, (at, field), found, path_segment(found))
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        complain(problems, (at, "apiVersion"), version, [f"unexpected GroupVersion string: {version}"])
    elif "/" not in version and reference.get("kind") != "ReplicationController":
        complain(problems, (at, "apiVersion"), version, ["apiVersion must specify API group"])
