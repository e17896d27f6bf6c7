"""What a campaign would do if it began now, for people: a plan of every pool, or of one. Nothing is changed.

Apart from the campaign because it plans to the end at once, on a copy beside the loop and within the time of other
large questions, while a campaign plans one step at a time from what has become of the last one.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from tensorfusion.errors import BadRequest, InvalidRequest, NotFound
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Raw
from tensorfusion.model.pool_nodes import Defrag
from tensorfusion.policy.defrag import LONGEST_BY_DEFAULT, defrag_settings
from tensorfusion.scheduler.defrag import defrag_of
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduler.simulate import Simulator
from tensorfusion.scheduling.copies import WorldFacts, state_of
from tensorfusion.scheduling.defrag import DefragPlan, Step, asked_about, plan
from tensorfusion.scheduling.defrag_candidates import Terms
from tensorfusion.scheduling.facts import Placement
from tensorfusion.scheduling.state import State

MOST_STEPS = 1_000
MOST_TRIED = 20_000


async def planned(
    service: SchedulerService, simulator: Simulator, *, pool: str = "", threshold: str = "", older_than: str = ""
) -> Raw:
    """The body of ``/api/defrag/plan``. What is not said is as the pool has it, or by default.

    Raises:
        BadRequest: a threshold or a duration cannot be understood.
        NotFound: there is no such pool.
        TooManyRequests: others have asked so much that it has to wait.
    """
    pools = sorted(service.defrag.pools(), key=lambda one: one.metadata.name)
    if pool:
        pools = [one for one in pools if one.metadata.name == pool]
        if not pools:
            raise NotFound(f"query parameter pool: there is no GPUPool {pool[:63]!r}")
    percent, age = _percent(threshold), _age(older_than)
    closed = await service.defrag.restraints.closed_nodes()
    asked = []
    for one in pools:
        settings = defrag_of(one) or Defrag()
        asked.append(
            service.defrag.restraints.terms(
                one.metadata.name,
                threshold=settings.utilization_threshold_percent if percent is None else percent,
                min_age=_longest(settings) if age is None else age,
                closed=closed,
            )
        )

    def prepare(known: WorldFacts) -> Callable[[], list[DefragPlan]]:
        frozen = [_as_of_now(terms, service.state) for terms in asked]  # caches are read by the loop only

        def work() -> list[DefragPlan]:
            state = state_of(known)
            return [plan(state, terms, most_steps=MOST_STEPS, most_tried=MOST_TRIED) for terms in frozen]

        return work

    found = await simulator.beside(prepare)
    return {"pools": [_words(one, terms, made) for one, terms, made in zip(pools, asked, found, strict=True)]}


def _as_of_now(terms: Terms, state: State) -> Terms:
    """Terms that ask nobody any more."""
    pods = asked_about(state, terms)
    vetoes = {pod.uid: terms.veto(pod) for pod in pods}
    budgets = {pod.uid: terms.budgets(pod) for pod in pods}
    return replace(terms, veto=lambda pod: vetoes.get(pod.uid), budgets=lambda pod: budgets.get(pod.uid, {}))


def _longest(settings: Defrag) -> timedelta:
    try:
        return defrag_settings(settings).max_duration
    except InvalidRequest:
        return LONGEST_BY_DEFAULT


def _percent(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100):
        raise BadRequest(f"query parameter threshold: wanted a whole number from 0 to 100, found {text[:60]!r}")
    return int(text)


def _age(text: str) -> timedelta | None:
    if not text:
        return None
    try:
        return timedelta(microseconds=parse_duration(text) // 1000)
    except InvalidRequest as error:
        raise BadRequest(f"query parameter olderThan: {error}") from error


def _words(pool: GPUPool, terms: Terms, found: DefragPlan) -> Raw:
    settings = defrag_of(pool)
    return {
        "pool": terms.pool,
        "enabled": settings is not None and settings.enabled,
        "thresholdPercent": terms.threshold,
        "olderThanSeconds": terms.min_age,
        "wholeDevices": {"before": found.whole_before, "after": found.whole_after},
        "podsMoved": found.moves,
        "steps": [_step(step) for step in found.steps],
        "kept": [
            {
                "node": node,
                "why": kept.why,
                **({} if kept.pod is None else {"pod": f"{kept.pod.namespace}/{kept.pod.name}"}),
            }
            for node, kept in sorted(found.kept.items())
        ],
    }


def _step(step: Step) -> Raw:
    return {
        "node": step.node,
        "frees": step.frees,
        "devices": step.devices,
        "workSeconds": step.work,
        "moves": [
            {
                "pod": f"{move.pod.namespace}/{move.pod.name}",
                "from": dict(_place(move.source)),
                "to": dict(_place(move.target)),
                "workSeconds": move.work,
            }
            for move in step.moves
        ],
    }


def _place(place: Placement) -> Iterator[tuple[str, object]]:
    yield "node", place.node
    yield "devices", list(place.devices)
