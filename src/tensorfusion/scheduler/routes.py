"""The scheduler over HTTP: simulate, allocation, explain, decisions. Reads only; nothing here changes a placement.

Apart from the service so that the entry point can put the routes of several components on one listener. Who may read
is the composer's business: ``authorize`` raises the ``ApiError`` that the caller gets. ``anonymous_read`` opens these
read-only routes without a token, as the deployment guide calls them; the embedded cluster sets it on its loopback
address.

Source: TensorFusion operator API, /api/allocation and /api/simulate-schedule; /api/explain and /api/decisions are
ours.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tensorfusion.errors import ApiError, BadRequest, InvalidRequest
from tensorfusion.model.meta import Key, Raw
from tensorfusion.scheduler.allocation import allocation
from tensorfusion.scheduler.body import parse_pod, read_body
from tensorfusion.scheduler.explain import explain
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduler.simulate import simulate

Admission = Callable[[Raw], Raw]
"""Admission in dry run: the pod as it would be stored. Raises ``InvalidRequest`` or ``ApiError`` when it is refused."""
Authorize = Callable[[Request], Awaitable[None]]

_encode = msgspec.json.Encoder(order="deterministic").encode


def routes(
    service: SchedulerService, *, admission: Admission, authorize: Authorize, anonymous_read: bool = False
) -> list[Route]:
    """The routes of one scheduler, for a Starlette application."""

    async def simulate_schedule(request: Request) -> object:
        body = await read_body(request)
        pod = await asyncio.to_thread(parse_pod, body)
        return simulate(service, admission(pod))

    async def show_allocation(_: Request) -> object:
        return await allocation(service)

    async def explain_pod(request: Request) -> object:
        name = request.query_params.get("name")
        if not name:
            raise BadRequest("query parameter name: wanted the name of a pod, found nothing")
        return explain(service, Key(request.query_params.get("namespace") or "default", name))

    async def decisions(_: Request) -> object:
        return service.records.figures()

    def route(path: str, method: str, answer: Callable[[Request], Awaitable[object]]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                if not anonymous_read:
                    await authorize(request)
                found = await answer(request)
            except ApiError as error:
                return _json({"error": str(error)}, error.status_code)
            except InvalidRequest as error:
                return _json({"error": str(error)}, 400)
            return _json(found, 200)

        return Route(path, endpoint, methods=[method])

    return [
        route("/api/simulate-schedule", "POST", simulate_schedule),
        route("/api/allocation", "GET", show_allocation),
        route("/api/explain", "GET", explain_pod),
        route("/api/decisions", "GET", decisions),
    ]


def _json(value: object, status: int) -> Response:
    return Response(_encode(value), status_code=status, media_type="application/json")
