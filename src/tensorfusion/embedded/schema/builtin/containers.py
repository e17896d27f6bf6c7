"""Rules of the containers of a pod and of what they mount, listen on and are probed by."""

from collections.abc import Iterator, Sequence

from tensorfusion.embedded.schema.builtin.resources import check_resources
from tensorfusion.embedded.schema.names import environment_name
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    NOT_FOUND,
    REQUIRED,
    complain,
    duplicate,
    forbidden,
    invalid_value,
    required,
    shown,
)
from tensorfusion.model.meta import Raw

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def check_volumes(volumes: Sequence[Raw], path: Path, problems: list[Problem]) -> frozenset[str]:
    """Names once, one source each. Returns the names that containers can mount."""
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        name = volume.get("name", "")
        if name in names:
            problems.append(Problem(((path, index), "name"), duplicate(name), DUPLICATE))
        names.add(name)
        sources = [field for field in volume if field != "name"]
        for extra in sources[1:]:
            text = forbidden("may not specify more than 1 volume type")
            problems.append(Problem(((path, index), extra), text, FORBIDDEN))
    return frozenset(names)


def check_containers(spec: Raw, volumes: frozenset[str], path: Path, problems: list[Problem]) -> None:
    names: set[str] = set()
    host_ports: set[str] = set()
    for at, container, init in containers_of(spec, path):
        name = container.get("name", "")
        if name in names and name:
            problems.append(Problem((at, "name"), duplicate(name), DUPLICATE))
        names.add(name)
        image = container.get("image", "")
        if image != image.strip():
            complain(problems, (at, "image"), image, ["must not have leading or trailing whitespace"])
        _check_environment(container.get("env") or (), (at, "env"), problems)
        _check_mounts(container.get("volumeMounts") or (), volumes, (at, "volumeMounts"), problems)
        _check_ports(container.get("ports") or (), (at, "ports"), problems, host_network=bool(spec.get("hostNetwork")))
        if container.get("ports"):
            _check_host_ports(container["ports"], set() if init else host_ports, (at, "ports"), problems)
        _check_probes(container, at, problems, init=init and container.get("restartPolicy") != "Always")
        check_resources(container.get("resources"), (at, "resources"), problems)


def containers_of(spec: Raw, path: Path) -> Iterator[tuple[Path, Raw, bool]]:
    """Every container with its path, and whether it is an init container."""
    at_containers: Path = (path, "containers")
    for index, container in enumerate(spec.get("containers") or ()):
        yield (at_containers, index), container, False
    at_inits: Path = (path, "initContainers")
    for index, container in enumerate(spec.get("initContainers") or ()):
        yield (at_inits, index), container, True


def _check_environment(variables: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    for index, variable in enumerate(variables):
        name = variable.get("name")
        if name and (found := environment_name(name)):
            complain(problems, ((path, index), "name"), name, found)
        source = variable.get("valueFrom")
        if source is None:
            continue
        at: Path = ((path, index), "valueFrom")
        if variable.get("value"):
            complain(problems, at, "", ["may not be specified when `value` is not empty"])
        if len(source) != 1:
            some = "may not have more than one field specified at a time"
            none = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            complain(problems, at, "", [some if source else none])


def _check_mounts(mounts: Sequence[Raw], volumes: frozenset[str], path: Path, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        name, target = mount.get("name"), mount.get("mountPath")
        if name and name not in volumes:
            problems.append(Problem(((path, index), "name"), f"Not found: {shown(name)}", NOT_FOUND))
        if target:
            if target in seen:
                complain(problems, ((path, index), "mountPath"), target, ["must be unique"])
            seen.add(target)


def _check_ports(ports: Sequence[Raw], path: Path, problems: list[Problem], *, host_network: bool) -> None:
    names: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name")
        if name:
            complain(problems, ((path, index), "name"), name, port_name(name))
            if name in names:
                problems.append(Problem(((path, index), "name"), duplicate(name), DUPLICATE))
            names.add(name)
        host_port = port.get("hostPort")
        if host_network and host_port and host_port != port.get("containerPort"):
            text = "must match `containerPort` when `hostNetwork` is true"
            problems.append(Problem(((path, index), "hostPort"), invalid_value(host_port, text)))


def _check_host_ports(ports: Sequence[Raw], taken: set[str], path: Path, problems: list[Problem]) -> None:
    """A port of the node is given once; ``taken`` are those of the pod's containers before."""
    for index, port in enumerate(ports):
        if not port.get("hostPort"):
            continue
        wanted = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
        if wanted in taken:
            problems.append(Problem(((path, index), "hostPort"), duplicate(wanted), DUPLICATE))
        taken.add(wanted)


def port_name(name: str) -> list[str]:
    """Complaints about the name of a port (an IANA service name)."""
    found: list[str] = []
    if len(name) > 15:
        found.append("must be no more than 15 characters")
    if not all(letter.isascii() and (letter.islower() or letter.isdigit() or letter == "-") for letter in name):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= letter <= "z" for letter in name):
        found.append("must contain at least one letter (a-z)")
    if "--" in name:
        found.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def _check_probes(container: Raw, path: Path, problems: list[Problem], *, init: bool) -> None:
    for field in _PROBES:
        probe = container.get(field)
        if probe is None:
            continue
        at: Path = (path, field)
        if init:
            text = forbidden("may not be set for init containers without restartPolicy=Always")
            problems.append(Problem(at, text, FORBIDDEN))
        handlers = [handler for handler in _HANDLERS if handler in probe]
        if not handlers:
            problems.append(Problem(at, required("must specify a handler type"), REQUIRED))
        for extra in handlers[1:]:
            text = forbidden("may not specify more than 1 handler type")
            problems.append(Problem((at, extra), text, FORBIDDEN))
        if field != "readinessProbe" and probe.get("successThreshold", 1) > 1:
            complain(problems, (at, "successThreshold"), probe["successThreshold"], ["must be 1"])
