"""What came of looking for room for a pod, in words: for ``explain`` and the console, the newest pods only.

Apart from the preemptor because nothing is decided by it. Readers see a pod's own namespace: pods and disruption
budgets of others stay unnamed.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from tensorfusion.model.meta import Raw
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.preemption import Hopeless
from tensorfusion.scheduling.residents import NEVER
from tensorfusion.scheduling.victims import Looked

STORIES = 20_000
OPENED = "at once: it is opened for the pod, though kept for whole-node jobs, before anybody is evicted"
"""When a place will be free that is only kept from the pod."""


class Stories:
    """By the uid of the pod; at most 20,000."""

    def __init__(self) -> None:
        self._stories: OrderedDict[str, Raw] = OrderedDict()

    def of(self, uid: str) -> Raw | None:
        """What came of looking for room for a pod; None where nobody looked."""
        return self._stories.get(uid)

    def searched(
        self,
        uid: str,
        looked: Looked,
        *,
        space: str,
        outcome: str,
        node: str = "",
        victims: Iterable[str] = (),
    ) -> None:
        """A search ended; ``space`` is the namespace whose readers are told."""
        story: Raw = {
            "considered": looked.considered,
            "nodesTried": looked.nodes,
            "triedOut": [name_for(one, space) for one in looked.pods],
            "keptByBudgets": _budget_names(looked.budgets, space),
            "node": node,
            "victims": list(victims),
            "outcome": outcome,
        }
        self._put(uid, story)

    def went_on(self, uid: str, outcome: str) -> None:
        """Something else became of the pod since."""
        story = self._stories.pop(uid, {})
        story["outcome"] = outcome
        self._put(uid, story)

    def _put(self, uid: str, story: Raw) -> None:
        self._stories.pop(uid, None)
        self._stories[uid] = story
        if len(self._stories) > STORIES:
            self._stories.popitem(last=False)


def name_for(pod: PodFacts, space: str) -> str:
    """A pod's name for readers of a namespace: those of others stay unnamed."""
    return f"{pod.namespace}/{pod.name}" if pod.namespace == space else "a pod of another namespace"


def why_hopeless(found: Hopeless) -> str:
    """What a search that found nothing means, for the owner of the pod."""
    if not found.looked.considered:
        if found.protected_until != NEVER:
            return "less important pods are protected from eviction for some time"
        if found.entitled:
            return "no pod that may be evicted for it is less important, or holds what its namespace has lent"
        return "no pod that may be evicted for it is less important"
    if found.looked.budgets:
        return "disruption budgets keep the pods whose going would make room"
    return "evicting every less important pod would not make room"


def waits_for(names: Sequence[str], gang: str) -> str:
    """When the place will be free that these have to leave, for the event; ``gang`` waits as a whole."""
    waits = f"once {listed(names) if names else 'pods that are ending'} left it"
    return f"together with the rest of gang {gang}, {waits.removesuffix(' it')}" if gang else waits


def listed(names: Sequence[str]) -> str:
    """At most five of these names."""
    return f"{', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"


def _budget_names(budgets: Iterable[str], space: str) -> list[str]:
    """Disruption budgets for readers of a namespace: those of others are counted."""
    every = list(budgets)
    own = [name for name in every if name.startswith(f"{space}/")]
    others = len(every) - len(own)
    return [*own, f"{others} of other namespaces"] if others else own
