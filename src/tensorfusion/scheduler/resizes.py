"""Answer the wishes of running pods for other amounts: decide in the ledger, write the answer, and learn its fate.

Apart from the binder because an answer changes a pod that has devices already, and what is held in between differs: the
larger of both versions, from the decision until the API server says which of them is true. An answer is one write to
the pod's status subresource, which carries the amounts, the condition for the owner and the leader's epoch. It names
the resourceVersion that was read, so it lands on exactly that version or never: once the pod is seen in another one
without it, it cannot land any more.

Source: TensorFusion's rules for adjusting a live allocation.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ApiError, InvalidRequest, NotFound, QuotaExceeded, ServerError
from tensorfusion.kube.api import Api, PatchKind
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Condition, Raw
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.resources import PODS
from tensorfusion.policy.resize import Resize, in_words, resize_of, wish_of
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler.binder import CONCLUSIVE_AFTER, Leadership, Term
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.shards import Shards
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

SENDERS = 8
OPEN = 256
"""Answers on their way at most; further wishes wait."""
_SOONEST, _LATEST = 0.2, 5.0

Told = Callable[[Pod, GpuRequest | None, str], None]
"""Called with every answer that landed: the pod, its new request (None: refused) and the words for its owner."""


@dataclass(slots=True)
class _Answer:
    """One decision on its way to the API server."""

    pod: Pod
    resize: Resize | None
    words: str
    epoch: int
    patch: Raw
    term: Term | None = None
    unanswered_since: float | None = None
    """When it was sent last without a reply: it may still land."""


class Resizes:
    """Wishes in, answers out. ``step`` decides and is called by the owner of the state; ``run`` sends."""

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        book: PodBook,
        state: State,
        *,
        clock: Clock,
        pods: Cache[Pod],
        told: Told,
        shards: Shards | None = None,
    ) -> None:
        self._api = api
        self._leadership = leadership
        self._book = book
        self._state = state
        self._clock = clock
        self._pods = pods
        self._told = told
        self._shards = shards
        self._ready: asyncio.Queue[_Answer] = asyncio.Queue()
        self._open: set[str] = set()

    def step(self) -> None:
        """Decide about the wishes that wait. A pod whose last answer is still on its way has to wait."""
        for uid, key in list(self._book.wishes.items()):
            if uid in self._open:
                continue
            if len(self._open) >= OPEN:
                return
            pod = self._pods.get(key)
            if pod is None or pod.metadata.uid != uid or keys.RESIZE not in pod.metadata.annotations:
                del self._book.wishes[uid]
                continue
            if self._shards is not None and not self._is_ours(self._shards, uid):
                continue  # its owner answers, or this replica once it is the owner
            del self._book.wishes[uid]
            self._open.add(uid)
            self._ready.put_nowait(self._decide(pod))

    @property
    def idle(self) -> bool:
        """No answer is on its way."""
        return not self._open

    def _is_ours(self, shards: Shards, uid: str) -> bool:
        allocation = self._state.allocations.get(uid)
        return allocation is not None and shards.obstacle(allocation.pod) is None

    def judge(self, uid: str, request: GpuRequest) -> str | None:
        """Why there is no room for other amounts now, by this replica's books; None where there is, or it cannot tell.

        Changes nothing, and decides nothing.
        """
        if not self._book.is_bound(uid):
            return None
        try:
            self._state.require_growth(uid, request)
        except (NotHoldable, QuotaExceeded) as error:
            return str(error)
        return None

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._sender())

    def _decide(self, pod: Pod) -> _Answer:
        uid, annotations = pod.metadata.uid, pod.metadata.annotations
        resize: Resize | None = None
        words = ""
        try:
            resize = resize_of(annotations, pod.metadata.labels, wish_of(annotations))
            words = in_words(resize) or "nothing changes"
            self._state.resize(uid, resize.after)
            self._book.resizing[uid] = resize.after
        except InvalidRequest as error:
            resize, words = None, str(error)
        except (NotHoldable, QuotaExceeded) as error:
            resize, words = None, f"{words}: {error}"
        log.info("live change", pod=pod.key, accepted=resize is not None, what=words)
        epoch, term = self._leadership.epoch, self._term(uid)
        return _Answer(pod, resize, words, epoch, self._patch(pod, resize, words, epoch=epoch, term=term), term)

    def _term(self, uid: str) -> Term | None:
        request = self._state.allocations[uid].pod.request if uid in self._state.allocations else None
        if self._shards is None or request is None:
            return None
        return self._shards.term(self._shards.shard_of_pool(request.pool))

    def _patch(self, pod: Pod, resize: Resize | None, words: str, *, epoch: int, term: Term | None) -> Raw:
        accepted = resize is not None
        condition = {
            "type": keys.RESOURCE_UPDATE,
            "status": "True" if accepted else "False",
            "reason": "Accepted" if accepted else "Refused",
            "message": words,
            "lastTransitionTime": timestamp(self._clock.now()),
        }
        written: dict[str, str | None] = {keys.RESIZE: None, keys.SCHEDULER_EPOCH: str(epoch)}
        if term is not None or keys.SCHEDULER_SHARD in pod.metadata.annotations:
            written[keys.SCHEDULER_SHARD] = str(term) if term is not None else None
        if resize is not None:
            written |= resize.values
        meta = pod.metadata
        return {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "annotations": written},
            "status": {"conditions": [condition]},
        }

    async def _sender(self) -> None:
        while True:
            answer = await self._ready.get()
            uid = answer.pod.metadata.uid
            try:
                await self._deliver(answer)
            finally:
                self._open.discard(uid)

    async def _deliver(self, answer: _Answer) -> None:
        """Send, and read the pod where that leaves a doubt, until it is certain what became of the answer."""
        pause = _SOONEST
        while True:
            sent = self._leads(answer)
            if sent:
                try:
                    after = await self._send(answer)
                except NotFound:
                    self._book.settle_change(answer.pod.metadata.uid, None)
                    return
                if after is not None and keys.RESIZE not in after.metadata.annotations:
                    self._landed(answer, after)
                    return
            if await self._concluded(answer):
                return
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LATEST)

    def _leads(self, answer: _Answer) -> bool:
        leads = self._leadership.is_leader() and self._leadership.epoch == answer.epoch
        return leads and (answer.term is None or self._shards is None or self._shards.holds(answer.term))

    async def _send(self, answer: _Answer) -> Pod | None:
        """The pod with the answer, or None where the server did not say that it took it.

        Raises:
            NotFound: the pod is gone.
        """
        key = answer.pod.key
        try:
            return await self._api.patch(
                PODS,
                key.name,
                answer.patch,
                namespace=key.namespace,
                subresource="status",
                kind=PatchKind.STRATEGIC,
                type_=Pod,
            )
        except NotFound:
            raise
        except (ServerError, TimeoutError, OSError) as error:
            log.warning("live change unanswered", pod=key, error=error)
            answer.unanswered_since = self._clock.monotonic()
        except ApiError as error:
            log.info("live change not taken", pod=key, error=error)
        return None

    async def _concluded(self, answer: _Answer) -> bool:
        """Whether the pod says what became of the answer; settles it then."""
        key, uid = answer.pod.key, answer.pod.metadata.uid
        try:
            found = await self._api.get(PODS, Pod, key.name, namespace=key.namespace)
        except NotFound:
            self._book.settle_change(uid, None)
            return True
        except (ApiError, TimeoutError, OSError) as error:
            log.warning("pod unreadable", pod=key, error=error)
            return False
        if found.metadata.uid != uid:
            self._book.settle_change(uid, None)
        elif found.metadata.resource_version != answer.pod.metadata.resource_version:
            if _carries(found, answer):
                self._landed(answer, found)
            else:
                await self._undone(found, pause=_SOONEST)
        elif self._can_land(answer):
            return False
        else:
            await self._undone(found, pause=_LATEST)
        return True

    def _can_land(self, answer: _Answer) -> bool:
        """A request without a reply may land late, and while this replica leads the answer is sent again."""
        since = answer.unanswered_since
        if since is None:
            return False
        return self._leads(answer) or self._clock.monotonic() - since < CONCLUSIVE_AFTER

    def _landed(self, answer: _Answer, pod: Pod) -> None:
        self._book.settle_change(pod.metadata.uid, pod)
        self._told(pod, answer.resize.after if answer.resize is not None else None, answer.words)

    async def _undone(self, pod: Pod, *, pause: float) -> None:
        """The pod is another by now, or nobody takes our word: it keeps what it says. Its next wish waits a moment."""
        self._book.settle_change(pod.metadata.uid, pod)
        await self._clock.sleep(pause)


def _carries(pod: Pod, answer: _Answer) -> bool:
    """Whether the pod has the answer's condition, word for word: then the answer landed."""
    if pod.metadata.annotations.get(keys.RESIZE) == answer.pod.metadata.annotations[keys.RESIZE]:
        return False
    wanted = answer.patch["status"]["conditions"][0]
    return any(
        (one.type, one.reason, one.message, one.last_transition_time)
        == (wanted["type"], wanted["reason"], wanted["message"], wanted["lastTransitionTime"])
        for one in pod.status.conditions
    )


def update_of(pod: Pod) -> Condition | None:
    """The answer to the pod's last wish."""
    return next((one for one in pod.status.conditions if one.type == keys.RESOURCE_UPDATE), None)
