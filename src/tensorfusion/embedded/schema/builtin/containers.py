"""Rules of the containers of a pod and of what they mount, listen on and are probed by."""

from collections.abc import Iterator, Sequence

from tensorfusion.embedded.schema.builtin.handlers import check_lifecycle, check_probes
from tensorfusion.embedded.schema.builtin.pod_details import (
    check_container_security,
    check_resize_policy,
    check_used_claims,
    check_volume_contents,
)
from tensorfusion.embedded.schema.builtin.ports import port_name
from tensorfusion.embedded.schema.builtin.references import (
    OF_ENVIRONMENT,
    check_amount,
    check_field,
    check_key,
    check_relative,
)
from tensorfusion.embedded.schema.builtin.resources import check_resources
from tensorfusion.embedded.schema.names import environment_name
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    NOT_FOUND,
    NOT_SUPPORTED,
    complain,
    duplicate,
    forbidden,
    invalid_value,
    shown,
    unsupported,
)
from tensorfusion.model.meta import Raw

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIONS = ("Disabled", "Enabled", "IfPossible")
_GRACE = 30
_PLAIN_MOUNT = 2  # name and mountPath


def check_volumes(volumes: Sequence[Raw], path: Path, problems: list[Problem]) -> frozenset[str]:
    """Names once, one source each. Returns the names that containers can mount."""
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        name = volume.get("name", "")
        if name in names:
            problems.append(Problem(((path, index), "name"), duplicate(name), DUPLICATE))
        before = len(problems)
        sources = [field for field in volume if field != "name"]
        for extra in sources[1:]:
            text = forbidden("may not specify more than 1 volume type")
            problems.append(Problem(((path, index), extra), text, FORBIDDEN))
        check_volume_contents(volume, (path, index), problems)
        if len(problems) == before:  # nothing can be mounted of what is no volume
            names.add(name)
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
        _check_rare(container, spec, volumes, at, problems)
        plain_init = init and container.get("restartPolicy") != "Always"
        check_probes(container, at, problems, init=plain_init)
        if container.get("lifecycle"):
            grace = spec.get("terminationGracePeriodSeconds", _GRACE)
            check_lifecycle(container["lifecycle"], (at, "lifecycle"), problems, init=plain_init, grace=grace)
        check_resources(container.get("resources"), (at, "resources"), problems)


def _check_rare(container: Raw, spec: Raw, volumes: frozenset[str], path: Path, problems: list[Problem]) -> None:
    """What most containers do not have."""
    for index, source in enumerate(container.get("envFrom") or ()):
        if source.get("prefix"):
            at_prefix: Path = (((path, "envFrom"), index), "prefix")
            complain(problems, at_prefix, source["prefix"], environment_name(source["prefix"]))
        if len(source.keys() & {"configMapRef", "secretRef"}) != 1:
            some = "may not have more than one field specified at a time"
            none = "must specify one of: `configMapRef` or `secretRef`"
            complain(problems, (path, "envFrom"), "", [some if "configMapRef" in source else none])
    for index, device in enumerate(container.get("volumeDevices") or ()):
        if device.get("name") and device["name"] not in volumes:
            text = f"Not found: {shown(device['name'])}"
            problems.append(Problem((((path, "volumeDevices"), index), "name"), text, NOT_FOUND))
    if (container.get("securityContext") or {}).get("procMount") == "Unmasked" and spec.get("hostUsers") is not False:
        why = "`hostUsers` must be false to use `Unmasked`"
        complain(problems, ((path, "securityContext"), "procMount"), "Unmasked", [why])
    if container.get("securityContext"):
        check_container_security(container["securityContext"], (path, "securityContext"), problems)
    if container.get("resizePolicy"):
        check_resize_policy(container["resizePolicy"], (path, "resizePolicy"), problems)
    used = (container.get("resources") or {}).get("claims")
    if used:
        at: Path = ((path, "resources"), "claims")
        check_used_claims(used, spec.get("resourceClaims") or (), at, problems)


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
            continue
        if "fieldRef" in source:
            check_field(source["fieldRef"], OF_ENVIRONMENT, (at, "fieldRef"), problems)
        elif "resourceFieldRef" in source:
            check_amount(source["resourceFieldRef"], (at, "resourceFieldRef"), problems, named=False)
        for field in ("configMapKeyRef", "secretKeyRef"):
            if field in source:
                check_key(source[field], (at, field), problems)


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
        if len(mount) > _PLAIN_MOUNT:
            _check_mount(mount, index, path, problems)


def _check_mount(mount: Raw, index: int, path: Path, problems: list[Problem]) -> None:
    """What few mounts say."""
    if mount.get("subPath"):
        check_relative(mount["subPath"], (path, "subPath"), problems)
    if mount.get("subPathExpr"):
        check_relative(mount["subPathExpr"], (path, "subPathExpr"), problems)
        if mount.get("subPath"):
            text = invalid_value(mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
            problems.append(Problem(((path, index), "subPathExpr"), text))
    for field, supported in (("mountPropagation", _PROPAGATIONS), ("recursiveReadOnly", _RECURSIONS)):
        if mount.get(field) and mount[field] not in supported:
            problems.append(Problem((path, field), unsupported(mount[field], supported), NOT_SUPPORTED))
    if mount.get("recursiveReadOnly") in ("Enabled", "IfPossible") and not mount.get("readOnly"):
        text = forbidden("may only be specified when readOnly is true")
        problems.append(Problem((path, "recursiveReadOnly"), text, FORBIDDEN))


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
