"""The scheduler over HTTP: simulate, allocation, explain, pending, decisions, plans. Nothing here changes a placement.

Apart from the service so that the entry point can put the routes of several components on one listener. Who may read
is the composer's business: ``authorize`` raises the ``ApiError`` that the caller gets. ``anonymous_read`` opens
simulate-schedule and allocation without a token, as the deployment guide calls them; the embedded cluster sets it on
its loopback address; without the right to list the pods of its namespace a simulation names none of them. What is said
of one pod always takes a token, of somebody who may read that pod; what pends takes the right to list the pods it is
about; decisions of all namespaces, and plans of defragmentation, take the right to the path.

Source: TensorFusion operator API, /api/allocation and /api/simulate-schedule; the others are ours.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tensorfusion.errors import ApiError, BadRequest, Forbidden, InvalidRequest, Unauthorized
from tensorfusion.model.meta import Key, Raw
from tensorfusion.scheduler.advice import Advisor, Usable
from tensorfusion.scheduler.allocation import allocation
from tensorfusion.scheduler.body import parse_pod, read_body
from tensorfusion.scheduler.defrag_plan import planned
from tensorfusion.scheduler.explain import explain_with_advice
from tensorfusion.scheduler.pending import pending
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduler.simulate import Simulator
from tensorfusion.scheduler.what_if import parse_question

Admission = Callable[[Raw], Raw]
"""Admission in dry run: the pod as it would be stored. Raises ``InvalidRequest`` or ``ApiError`` when it is refused."""
Authorize = Callable[[Request, Key | None], Awaitable[None]]
"""Lets the sender of a request use its path or, where a pod is given, read what is said of that pod.

A pod without a name stands for all pods of its namespace, and without a namespace for all there are.
"""

_encode = msgspec.json.Encoder(order="deterministic").encode


def routes(
    service: SchedulerService,
    *,
    admission: Admission,
    authorize: Authorize,
    anonymous_read: bool = False,
    usable: Usable = lambda _namespace, _pool: True,
) -> list[Route]:
    """The routes of one scheduler, for a Starlette application."""
    advisor = Advisor(service, usable)
    simulator = Simulator(service)

    async def simulate_schedule(request: Request) -> object:
        body = await read_body(request)
        pod = await asyncio.to_thread(parse_pod, body)
        query = request.query_params
        question = parse_question(query.get("gang"), query.getlist("addNode"))

        async def may_list(namespace: str) -> bool:
            try:
                await authorize(request, Key(namespace, ""))
            except (Forbidden, Unauthorized):
                return False
            return True

        return await simulator.answer(admission(pod), question, may_list)

    async def show_allocation(_: Request) -> object:
        return await allocation(service)

    async def explain_pod(request: Request) -> object:
        return await explain_with_advice(service, _pod_asked_for(request), advisor)

    async def show_pending(request: Request) -> object:
        query = request.query_params
        return await pending(
            service, namespace=query.get("namespace", ""), pool=query.get("pool", ""), now=service.now()
        )

    async def defrag_plan(request: Request) -> object:
        query = request.query_params
        return await planned(
            service,
            simulator,
            pool=query.get("pool", ""),
            threshold=query.get("threshold", ""),
            older_than=query.get("olderThan", ""),
        )

    async def decisions(_: Request) -> object:
        return service.records.figures()

    def route(
        path: str,
        method: str,
        answer: Callable[[Request], Awaitable[object]],
        *,
        opened: bool = False,
        about: Callable[[Request], Key | None] = lambda _: None,
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                if not opened:
                    await authorize(request, about(request))
                found = await answer(request)
            except ApiError as error:
                pause = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
                return _json({"error": str(error)}, error.status_code, pause)
            except InvalidRequest as error:
                return _json({"error": str(error)}, 400)
            return _json(found, 200)

        return Route(path, endpoint, methods=[method])

    return [
        route("/api/simulate-schedule", "POST", simulate_schedule, opened=anonymous_read),
        route("/api/allocation", "GET", show_allocation, opened=anonymous_read),
        route("/api/explain", "GET", explain_pod, about=_pod_asked_for),
        route("/api/pending", "GET", show_pending, about=_pods_asked_for),
        route("/api/decisions", "GET", decisions),
        route("/api/defrag/plan", "GET", defrag_plan),
    ]


def _pod_asked_for(request: Request) -> Key:
    name = request.query_params.get("name")
    if not name:
        raise BadRequest("query parameter name: wanted the name of a pod, found nothing")
    return Key(request.query_params.get("namespace") or "default", name)


def _pods_asked_for(request: Request) -> Key:
    """All pods of the namespace that is asked about, or of all."""
    return Key(request.query_params.get("namespace", ""), "")


def _json(value: object, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encode(value), status_code=status, headers=headers, media_type="application/json")
