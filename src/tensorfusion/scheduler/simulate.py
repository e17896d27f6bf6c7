"""What the scheduler would do with a pod: questions to the same facts, filters and scores as a real decision.

Apart from the service because it changes nothing. The pure part is ``scheduling.simulate``; what it says is put into
the words of the wire by ``simulation_words``.
"""

import asyncio
from dataclasses import replace

import msgspec

from tensorfusion.errors import BadRequest, ServerError
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduler.simulation_words import simulation_words
from tensorfusion.scheduler.what_if import Question, devices_of, nodes_of
from tensorfusion.scheduling.copies import WorldFacts, facts_of, state_of
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts
from tensorfusion.scheduling.remedies import Circumstances
from tensorfusion.scheduling.simulate import Simulation
from tensorfusion.scheduling.simulate import simulate as simulate_decision
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Budgets

_ALONE = Question()


class Simulator:
    """Answers questions about pods; those about nodes that do not exist one at a time, beside the loop."""

    def __init__(self, service: SchedulerService) -> None:
        self._service = service
        self._one_copy = asyncio.Lock()

    async def answer(self, body: Raw, question: Question = _ALONE) -> Raw:
        """Decide for an admitted pod without placing it.

        Raises:
            BadRequest: the body is no pod, or the question cannot be asked.
            InvalidRequest: an annotation or a resource request cannot be understood.
            ServerError: no scheduler here serves the pod's schedulerName.
        """
        service = self._service
        pod = _pod_of(body)
        if pod.spec.scheduler_name not in service.scheduler_names:
            raise ServerError("scheduler framework not found", code=500)
        facts = service.book.facts(pod)
        around = Circumstances(
            now=int(service.now().timestamp()),
            cluster_wide=service.preemptor.cluster_wide(),
            budgets=service.preemptor.budgets_of,
        )
        keys = service.gangs.domain_keys
        if not question.nodes:
            found = simulate_decision(service.state, facts, gang=question.gang, around=around, domain_keys=keys)
            return simulation_words(service, service.state, facts, found)
        async with self._one_copy:
            nodes, devices = self._added(question, facts)
            known = facts_of(service.state)
            # what budgets allow is read from caches, which only the loop may do
            around = replace(around, budgets=_as_of_now(service, known, facts))

            def elsewhere() -> tuple[State, Simulation]:
                state = state_of(known, nodes=nodes, devices=devices)
                return state, simulate_decision(state, facts, gang=question.gang, around=around, domain_keys=keys)

            state, found = await asyncio.to_thread(elsewhere)
        return {**simulation_words(service, state, facts, found), "hypotheticalNodes": [node.name for node in nodes]}

    def _added(self, question: Question, facts: PodFacts) -> tuple[list[NodeFacts], list[DeviceFacts]]:
        service = self._service
        pool = facts.request.pool if facts.request is not None else ""
        shaped = list(nodes_of(question.nodes, service.state.fleet.nodes.records))
        devices = [
            device
            for shape, node in shaped
            for device in devices_of(shape, node.name, pool=pool, providers=service.providers)
        ]
        return [node for _, node in shaped], devices


def _as_of_now(service: SchedulerService, known: WorldFacts, facts: PodFacts) -> Budgets:
    """The disruption budgets of the live pods that may have to go, read at once."""
    lower = [one.pod for one in known.held if facts.preempts and one.pod.rank < facts.rank]
    found = {pod.uid: dict(service.preemptor.budgets_of(pod)) for pod in lower}
    return lambda pod: found.get(pod.uid, {})


def _pod_of(body: Raw) -> Pod:
    try:
        pod = msgspec.convert(body, Pod, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadRequest(f"body: wanted a Pod: {error}") from error
    if not pod.spec.containers:
        raise BadRequest("body: wanted a Pod with at least one container in spec.containers, found none")
    return pod
