"""What the scheduler would do with a pod: questions to the same facts, filters and scores as a real decision.

Apart from the service because it changes nothing. The pure part is ``scheduling.simulate``; what it says is put into
the words of the wire by ``simulation_words``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import msgspec

from tensorfusion.errors import BadRequest, ServerError, TooManyRequests
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw
from tensorfusion.scheduler.advice import Budget
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduler.simulation_words import simulation_words, without_names
from tensorfusion.scheduler.what_if import Question, devices_of, nodes_of
from tensorfusion.scheduling.copies import WorldFacts, facts_of, state_of
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts
from tensorfusion.scheduling.simulate import Simulation
from tensorfusion.scheduling.simulate import simulate as simulate_decision
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Budgets

AnswerT = TypeVar("AnswerT")
MayList = Callable[[str], Awaitable[bool]]
"""Whether who asks may list the pods of a namespace."""

_ALONE = Question()
MOST_TERMS = 8_192
"""Rules about other pods, times the members that each of them is counted for."""
_FEW_TERMS = 256
"""So many are looked at in no time."""
_MOST_WAITING = 8
_ASK_AGAIN = 3
"""Seconds after which it may be worth asking again."""


async def _nobody(_namespace: str) -> bool:
    return False


class Simulator:
    """Answers questions about pods.

    Those about gangs, nodes that do not exist and very many rules are answered one at a time, beside the loop. They
    together may take a tenth of the time, however many ask, and so may all the others, which are answered in the loop.
    """

    def __init__(self, service: SchedulerService, budget: Budget | None = None, quick: Budget | None = None) -> None:
        self._service = service
        self._budget = budget or Budget()
        self._quick = quick or Budget()
        """For questions about a pod alone: neither kind keeps the other from being asked."""
        self._one_copy = asyncio.Lock()
        self._waiting = 0

    async def answer(self, body: Raw, question: Question = _ALONE, may_list: MayList = _nobody) -> Raw:
        """Decide for an admitted pod without placing it. Pods of its namespace are named to those who may list them.

        Raises:
            BadRequest: the body is no pod, or the question cannot be asked.
            TooManyRequests: others have asked so much that it has to wait.
            InvalidRequest: an annotation or a resource request cannot be understood.
            ServerError: no scheduler here serves the pod's schedulerName.
        """
        service = self._service
        pod = _pod_of(body)
        if pod.spec.scheduler_name not in service.scheduler_names:
            raise ServerError("scheduler framework not found", code=500)
        facts = service.book.facts(pod)
        terms = _terms(facts, question.gang)
        around = service.preemptor.rooms.around()
        keys = service.gangs.domain_keys
        if not question.nodes and not question.gang and terms <= _FEW_TERMS:
            self._require_quick()
            started = time.perf_counter()
            found = simulate_decision(service.state, facts, around=around, domain_keys=keys)
            words = simulation_words(service, service.state, facts, found)
            self._quick.spend(time.perf_counter() - started)
            return await _as_allowed(words, facts, may_list)
        nodes: list[NodeFacts] = []

        def prepare(known: WorldFacts) -> Callable[[], tuple[State, Simulation]]:
            added, devices = self._added(question, facts)
            nodes.extend(added)
            # what budgets allow is read from caches, which only the loop may do
            frozen = replace(around, budgets=_as_of_now(service, known, facts))

            def work() -> tuple[State, Simulation]:
                state = state_of(known, nodes=added, devices=devices)
                return state, simulate_decision(state, facts, gang=question.gang, around=frozen, domain_keys=keys)

            return work

        state, found = await self.beside(prepare)
        words = await _as_allowed(simulation_words(service, state, facts, found), facts, may_list)
        return {**words, "hypotheticalNodes": [node.name for node in nodes]} if question.nodes else words

    async def beside(self, prepare: Callable[[WorldFacts], Callable[[], AnswerT]]) -> AnswerT:
        """The answer to a large question: ``prepare`` is called on the loop, what it returns runs beside it.

        Raises:
            TooManyRequests: others have asked so much that it has to wait.
        """
        async with self._turn():
            started = time.perf_counter()
            work = prepare(facts_of(self._service.state))
            self._budget.spend(time.perf_counter() - started)
            loop = asyncio.get_running_loop()

            def elsewhere() -> AnswerT:
                began = time.thread_time()
                try:
                    return work()
                finally:
                    loop.call_soon_threadsafe(self._budget.spend, time.thread_time() - began)

            return await asyncio.to_thread(elsewhere)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The time of one question; nobody else's is answered meanwhile.

        Raises:
            TooManyRequests: the time is spent, or too many wait for it.
        """
        self._require_time()
        if self._waiting >= _MOST_WAITING:
            raise TooManyRequests(
                f"{self._waiting} large questions wait already: ask again in a few seconds", retry_after=_ASK_AGAIN
            )
        self._waiting += 1
        try:
            async with self._one_copy:
                self._require_time()  # those before it may have spent it
                yield
        finally:
            self._waiting -= 1

    def _require_time(self) -> None:
        if not self._budget.open:
            raise TooManyRequests(
                "the time for large questions (gangs, added nodes, many rules) is spent: ask again in a few seconds",
                retry_after=_ASK_AGAIN,
            )

    def _require_quick(self) -> None:
        if not self._quick.open:
            raise TooManyRequests(
                "the time for simulations is spent: ask again in a few seconds", retry_after=_ASK_AGAIN
            )

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


async def _as_allowed(words: Raw, facts: PodFacts, may_list: MayList) -> Raw:
    named = words["preemption"] is not None and words["preemption"].get("victims")
    return without_names(words) if named and not await may_list(facts.namespace) else words


def _terms(facts: PodFacts, gang: int) -> int:
    """How many rules about other pods there are.

    Raises:
        BadRequest: they are too many for so many members.
    """
    rules = facts.rules
    if rules is None:
        return 0
    terms = len(rules.spread) + len(rules.affinity) + len(rules.anti_affinity) + len(rules.preferred)
    members = max(1, gang)
    if terms * members > MOST_TERMS:
        raise BadRequest(
            f"wanted at most {MOST_TERMS} rules about other pods over all members (spec.affinity.podAffinity, "
            f"podAntiAffinity and topologySpreadConstraints, times gang), found {terms} x {members}"
        )
    return terms


def _as_of_now(service: SchedulerService, known: WorldFacts, facts: PodFacts) -> Budgets:
    """The disruption budgets of the live pods that may have to go, read at once."""
    quotas = service.state.quotas
    owed = quotas.is_owed(facts.namespace)
    lower = [
        one.pod
        for one in known.held
        if facts.preempts
        and (one.pod.rank < facts.rank or (owed and quotas.counts_with(one.pod.namespace, facts.namespace)))
    ]
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
