"""pods/log, exec, attach and portforward: checked here, served by the pod's node.

The API process never runs anything: it asks the process node's endpoint, or says truthfully what a simulated container
has to say, which is nothing.

Source: the pod subresources of Kubernetes 1.34, by behaviour; the wording of refusals is theirs.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode

from tensorfusion.clock import Clock
from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.node_endpoint import LogStream, open_log
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.statuses import invalid, method_not_allowed, not_found
from tensorfusion.embedded.store import ObjectKey
from tensorfusion.embedded.targets import Target, is_true
from tensorfusion.embedded.tunnels import Tunnel, is_upgrade, request_head
from tensorfusion.errors import BadRequest, FieldCause
from tensorfusion.model.keys import RUN, RUN_PROCESS
from tensorfusion.model.resources import NODES

_NO_OUTPUT = "simulated container: no output\n"
_LOG_TIME = "%Y-%m-%dT%H:%M:%S.%f000Z"
_SHAPES = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
_PATHS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}
_FLAGS = ("stdin", "stdout", "stderr", "tty")


class Said:
    """A log that is known as a whole."""

    media_type = "text/plain"

    def __init__(self, text: str) -> None:
        self._text = text.encode()

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._text:
            yield self._text

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What is asked: target, query, the raw request's headers and method, and for whom."""

    target: Target
    query: bytes
    method: str
    headers: list[tuple[bytes, bytes]]
    call: Call


class PodStreams:
    """Answers for one server. ``socket`` is where a process node listens, if there is one."""

    def __init__(self, operations: Operations, socket: Path, *, clock: Clock) -> None:
        self._operations = operations
        self._store = operations.store
        self._socket = socket
        self._clock = clock

    async def log(self, request: StreamRequest, kind: Kind) -> LogStream | Said:
        """The log of a container.

        Raises:
            ApiError: no such pod or container, options that do not hold, or a node that says no.
        """
        target = request.target
        if target.verb != "get":
            raise method_not_allowed()
        query = _single(request.query)
        asked = _log_query(query, target.name, now=self._clock.now())
        pod = self._pod(kind, target)
        container = _chosen(pod, query.get("container", ""))
        node = pod["spec"].get("nodeName") or ""
        if not node:
            return Said("")
        if not self._runs_processes(node):
            return Said(_simulated_log(pod, container, query))
        path = f"/containerLogs/{target.namespace}/{target.name}/{quote(container)}?{urlencode(asked)}"
        return await open_log(self._socket, path, node=node)

    async def connect(self, request: StreamRequest, kind: Kind) -> Tunnel:
        """The way to a command, a container's own streams or a port.

        Raises:
            ApiError: as ``log``; or admission refused.
        """
        target = request.target
        if target.verb not in ("get", "create"):
            raise method_not_allowed()
        query = parse_qs(request.query.decode("ascii", "replace"), keep_blank_values=True)
        options = _ports(query) if target.subresource == "portforward" else _streams(query, target)
        asked = Asked(
            Operation.CONNECT,
            kind,
            target.namespace,
            target.name,
            request.call,
            {"apiVersion": "v1", "kind": _SHAPES[target.subresource], **options},
            subresource=target.subresource,
            shape=("", "v1", _SHAPES[target.subresource]),
        )
        await self._operations.admission.mutate(asked)
        await self._operations.admission.validate(asked)
        options, pod = asked.wanted, self._pod(kind, target)
        path = f"/{_PATHS[target.subresource]}/{target.namespace}/{target.name}"
        if target.subresource != "portforward":
            path += f"/{quote(_chosen(pod, str(options.get('container') or '')))}"
        node = self._node_of(pod, target)
        _check(options, target)
        if not is_upgrade(request.headers):
            raise BadRequest("Upgrade request required")
        sent = [(name, _text(value)) for name, value in _flattened(options)]
        return Tunnel(self._socket, request_head(request.method, f"{path}?{urlencode(sent)}", request.headers), node)

    def _pod(self, kind: Kind, target: Target) -> JsonObject:
        record = self._store.get(ObjectKey(kind.resource.id, target.namespace, target.name))
        if record is None:
            raise not_found(kind.resource, target.name)
        return decode_object(record.data)

    def _node_of(self, pod: JsonObject, target: Target) -> str:
        """The process node that a pod is on.

        Raises:
            BadRequest: it has no node yet, has ended, or is on a node that only simulates.
        """
        name, node = target.name, pod["spec"].get("nodeName") or ""
        if not node:
            raise BadRequest(f"pod {name} does not have a host assigned")
        if not self._runs_processes(node):
            raise BadRequest(
                f"pod {name} is on the simulated node {node}, where containers run no program: {target.subresource} "
                "needs a process node: start the cluster with tensorfusion up --run-processes"
            )
        phase = (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            raise BadRequest(
                f"cannot {target.subresource} into a container in a completed pod; current phase is {phase}"
            )
        return str(node)

    def _runs_processes(self, node: str) -> bool:
        record = self._store.get(ObjectKey(NODES.id, "", node))
        return record is not None and record.labels.get(RUN) == RUN_PROCESS


def _single(query: bytes) -> dict[str, str]:
    found = parse_qs(query.decode("ascii", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in found.items()}


def _chosen(pod: JsonObject, stated: str) -> str:
    """The container that is meant.

    Raises:
        BadRequest: there is no such, or more than one and none was named.
    """
    spec = pod["spec"]
    names = [container["name"] for container in spec["containers"]]
    inits = [container["name"] for container in spec.get("initContainers") or ()]
    name = pod["metadata"]["name"]
    if not stated:
        if len(names) == 1:
            return str(names[0])
        others = f" or one of the init containers: [{' '.join(inits)}]" if inits else ""
        raise BadRequest(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{others}"
        )
    if stated not in (*names, *inits):
        raise BadRequest(f"container {stated} is not valid for pod {name}")
    return stated


def _streams(query: Mapping[str, list[str]], target: Target) -> JsonObject:
    """PodExecOptions or PodAttachOptions as they are asked for."""
    options: JsonObject = {flag: True for flag in _FLAGS if is_true(query.get(flag, [None])[0])}
    if query.get("container", [""])[0]:
        options["container"] = query["container"][0]
    if target.subresource == "exec" and query.get("command"):
        options["command"] = query["command"]
    return options


def _ports(query: Mapping[str, list[str]]) -> JsonObject:
    """PodPortForwardOptions as they are asked for. Ports that are no numbers are kept to be refused later."""
    stated = [port for text in query.get("ports") or () for port in text.split(",")]
    return {"ports": [int(port) if _is_port(port) else port for port in stated]} if stated else {}


def _check(options: JsonObject, target: Target) -> None:
    """What a node would refuse.

    Raises:
        BadRequest: the options cannot be served.
    """
    if target.subresource == "portforward":
        for port in options.get("ports") or ():
            if not _is_port(str(port)):
                raise BadRequest(f"ports: wanted numbers from 1 to 65535, found {str(port)[:32]!r}")
        return
    if not any(options.get(flag) for flag in ("stdin", "stdout", "stderr")):
        raise BadRequest("you must specify at least one of stdin, stdout, stderr")
    if options.get("tty") and options.get("stderr"):
        raise BadRequest("tty and stderr cannot both be true")
    if target.subresource == "exec" and not options.get("command"):
        raise BadRequest("you must specify at least 1 command for the container")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536


def _flattened(options: JsonObject) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in options.items():
        if name not in ("apiVersion", "kind", "container"):
            found += [(name, each) for each in value] if isinstance(value, list) else [(name, value)]
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _log_query(query: Mapping[str, str], name: str, *, now: datetime) -> dict[str, str]:
    """PodLogOptions as the node's endpoint takes them.

    Raises:
        BadRequest, Invalid: an option that is no number or time, out of range, or against another.
    """
    causes: list[FieldCause] = []
    numbers = {field: _number(query, field) for field in ("tailLines", "limitBytes", "sinceSeconds")}
    for field, least, words in (
        ("tailLines", 0, "greater than or equal to 0"),
        ("limitBytes", 1, "greater than 0"),
        ("sinceSeconds", 1, "greater than 0"),
    ):
        value = numbers[field]
        if value is not None and value < least:
            causes.append(FieldCause(field, f"Invalid value: {value}: must be {words}"))
    if query.get("sinceTime") and numbers["sinceSeconds"] is not None:
        words = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(FieldCause("[]", f"Forbidden: {words}", "FieldValueForbidden"))
    if query.get("stream"):  # behind a feature gate that is off in 1.34
        causes.append(FieldCause("stream", "Forbidden: may not be specified", "FieldValueForbidden"))
    if causes:
        raise invalid("PodLogOptions", "", name, causes=causes)
    asked = {field: query[field] for field in ("follow", "previous", "timestamps") if is_true(query.get(field))}
    asked = dict.fromkeys(asked, "true")
    asked |= {field: str(numbers[field]) for field in ("tailLines", "limitBytes") if numbers[field] is not None}
    since = _since(query, numbers["sinceSeconds"], now)
    return {**asked, **({"since": since} if since else {})}


def _since(query: Mapping[str, str], seconds: int | None, now: datetime) -> str:
    if seconds is not None:
        return (now - timedelta(seconds=min(seconds, 1 << 31))).strftime(_LOG_TIME)
    stated = query.get("sinceTime")
    if not stated:
        return ""
    try:
        moment = datetime.fromisoformat(stated)
    except ValueError as error:
        raise BadRequest(f"sinceTime: wanted a time such as 2026-01-31T12:00:00Z, found {stated[:64]!r}") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).strftime(_LOG_TIME)


def _number(query: Mapping[str, str], field: str) -> int | None:
    text = query.get(field)
    if not text:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise BadRequest(f"{field}: wanted a whole number, found {text[:64]!r}")
    return int(text)


def _simulated_log(pod: JsonObject, container: str, query: Mapping[str, str]) -> str:
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    found = next((entry for entry in status.get("containerStatuses") or () if entry["name"] == container), None)
    if is_true(query.get("previous")):
        raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
    if found is None and status.get("phase", "Pending") == "Pending":
        raise BadRequest(f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating')
    if query.get("tailLines") == "0":
        return ""
    began = (found or {}).get("state", {}).get("running", {}).get("startedAt") or status.get("startTime") or ""
    text = f"{began} {_NO_OUTPUT}" if is_true(query.get("timestamps")) and began else _NO_OUTPUT
    limit = query.get("limitBytes")
    return text[: int(limit)] if limit else text
