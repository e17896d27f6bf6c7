"""Assign host ports and pod indices: the loop around ``policy.host_ports``, and its two routes.

What was given out is written down in one ConfigMap of our namespace, by compare-and-swap. So every replica may assign,
whoever leads; upstream asks the leader, which then knows only what it remembers.

Source: TensorFusion operator API, /api/assign-host-port and /api/assign-index.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tensorfusion.clock import Clock
from tensorfusion.errors import AlreadyExists, ApiError, BadRequest, Conflict, NotFound, ServerError
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import Pod
from tensorfusion.policy.host_ports import PortRange, next_index, parse_book, port_of
from tensorfusion.runtime.live_config import ConfigMap

CONFIG_MAP = "tensor-fusion-assignments"
"""What was given out and not yet seen on a pod."""
_PORTS, _INDEX = "host-ports", "last-index"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LONGEST_NAME = 253
_PATIENCE = 8.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5


class Assignments:
    """Assigns ports of one range, and indices. One for each process."""

    def __init__(self, client: Api, ports: PortRange, *, clock: Clock) -> None:
        self._client = client
        self._ports = ports
        self._clock = clock
        self._turn = asyncio.Lock()

    async def host_port(self, id_: str, *, dry_run: bool = False) -> int:
        """The lowest free port; the same one for the same id while its pod is on its way.

        Raises:
            ApiError: the API does not answer, or no port is left.
        """

        async def attempt(found: ConfigMap) -> tuple[int, dict[str, str]]:
            book = parse_book(found.data.get(_PORTS, ""))
            now = int(self._clock.now().timestamp())  # before the list: it does not hold who comes later
            listing = await self._client.list(r.PODS, Pod, labels=f"{keys.HOST_PORT}=auto")
            held = frozenset(
                port
                for pod in listing.items
                if not pod.finished and (port := port_of(pod.metadata.annotations)) is not None
            )
            port, book = book.reserve(self._ports, held, id_, now)
            if port is None:
                raise ServerError(
                    f"no host port is free in {self._ports.start}-{self._ports.end}: widen --cluster-host-port-range",
                    code=500,
                )
            return port, {_PORTS: book.text()}

        return await self._swap(attempt, dry_run=dry_run)

    async def is_reserved(self, port: int) -> bool:
        """Whether a pod is on its way with this port.

        Raises:
            ApiError: the API does not answer.
        """
        return port in parse_book((await self._read()).data.get(_PORTS, "")).reserved

    async def index(self) -> int:
        """The next index, 1 to 128.

        Raises:
            ApiError: the API does not answer.
        """

        async def attempt(found: ConfigMap) -> tuple[int, dict[str, str]]:
            last = found.data.get(_INDEX, "0")
            index = next_index(int(last) if last.isdecimal() and len(last) <= 3 else 0)
            return index, {_INDEX: str(index)}

        return await self._swap(attempt, dry_run=False)

    async def _swap(
        self, attempt: Callable[[ConfigMap], Awaitable[tuple[int, dict[str, str]]]], *, dry_run: bool
    ) -> int:
        deadline = self._clock.monotonic() + _PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._turn:
                    found = await self._read()
                    value, data = await attempt(found)
                    if not dry_run and any(found.data.get(key) != text for key, text in data.items()):
                        metadata = {"resourceVersion": found.metadata.resource_version}
                        patch = {"metadata": metadata, "data": data}
                        await self._client.patch(r.CONFIG_MAPS, CONFIG_MAP, patch, namespace=keys.SYSTEM_NAMESPACE)
                    return value
            except ApiError as error:
                lost = isinstance(error, Conflict) or (isinstance(error, ServerError) and error.status_code != 500)
                if not lost or self._clock.monotonic() + pause > deadline:
                    raise
            await self._clock.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _read(self) -> ConfigMap:
        while True:
            try:
                return await self._client.get(r.CONFIG_MAPS, ConfigMap, CONFIG_MAP, namespace=keys.SYSTEM_NAMESPACE)
            except NotFound:
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}}
                try:
                    await self._client.create(r.CONFIG_MAPS, body, namespace=keys.SYSTEM_NAMESPACE)
                except AlreadyExists:
                    continue


def assign_routes(assignments: Assignments, *, authorize: Callable[[Request], Awaitable[None]]) -> list[Route]:
    """The two routes; ``authorize`` raises the ``ApiError`` that the caller gets. Answers are plain text."""

    def route(path: str, method: str, answer: Callable[[str], Awaitable[int]]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                await authorize(request)
                name = request.query_params.get("podName", "")
                if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
                    raise BadRequest("podName: wanted the name of a pod in the query: POST /api/...?podName=NAME")
                return PlainTextResponse(str(await answer(name)))
            except ApiError as error:
                return PlainTextResponse(str(error), error.status_code)

        return Route(path, endpoint, methods=[method])

    async def host_port(name: str) -> int:
        return await assignments.host_port(name)

    async def index(_: str) -> int:
        return await assignments.index()

    return [route("/api/assign-host-port", "POST", host_port), route("/api/assign-index", "GET", index)]
