"""What a real API server's own admission fills into a pod: its priority, its service account, its tolerations.

No token volume is mounted: simulated and process nodes have no use for one, and a pod that wants a token asks for it
through ``serviceaccounts/token``. The ``default`` account may be missing, because a namespace gets it a moment after
it was made; any other account must exist.

Source: the admission plugins Priority, ServiceAccount and DefaultTolerationSeconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tensorfusion.embedded.calls import Asked, Operation
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.statuses import forbidden
from tensorfusion.embedded.store import EventKind, ObjectKey, Record, Store, StoreEvent
from tensorfusion.model.keys import SCHEDULER_NAME, SIMULATED_TAINT
from tensorfusion.model.resources import PODS, PRIORITY_CLASSES, RUNTIME_CLASSES, SERVICE_ACCOUNTS

_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_TOLERATION_SECONDS = 300
_PREEMPT = "PreemptLowerPriority"


@dataclass(frozen=True, slots=True)
class _Class:
    value: int
    preemption: str
    is_default: bool


class PodAdmission:
    """Completes pods. Follows the priority classes of one store."""

    def __init__(self, store: Store, *, run_processes: bool = False) -> None:
        self._store = store
        self._run_processes = run_processes
        self._classes: dict[str, _Class] = {}
        for record in store.scan(PRIORITY_CLASSES.id):
            self._put(record)
        store.on_commit(self._follow)

    def admit(self, asked: Asked) -> None:
        """Complete the pod in place.

        Raises:
            Forbidden: unknown priority class or account, or a priority that its class does not give.
        """
        pod = asked.obj
        if pod is None or asked.subresource:
            return
        spec = pod.get("spec")
        if not isinstance(spec, dict):
            return  # the schema says so in its own words
        if asked.operation is Operation.CREATE:
            self._set_account(spec, asked)
            if spec.get("runtimeClassName") or spec.get("overhead"):
                self._set_runtime(spec, asked)
            self._set_priority(spec, asked)
        elif asked.old is not None:
            for field in ("priority", "preemptionPolicy"):
                if field not in spec and field in asked.old["spec"]:
                    spec[field] = asked.old["spec"][field]
        _tolerate(spec)
        if self._run_processes and spec.get("schedulerName") == SCHEDULER_NAME:
            _tolerate_simulation(spec)

    def _set_account(self, spec: JsonObject, asked: Asked) -> None:
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        if not isinstance(name, str):
            return
        account = self._store.get(ObjectKey(SERVICE_ACCOUNTS.id, asked.namespace, name))
        if name != "default" and account is None:
            raise forbidden(
                PODS,
                asked.name,
                f'error looking up service account {asked.namespace}/{name}: serviceaccount "{name}" not found',
            )
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if account is not None and b"imagePullSecrets" in account.data and not spec.get("imagePullSecrets"):
            secrets = decode_object(account.data).get("imagePullSecrets")
            if secrets:
                spec["imagePullSecrets"] = secrets

    def _set_runtime(self, spec: JsonObject, asked: Asked) -> None:
        """What the class of a pod's runtime costs beside its containers, and where it is."""
        name = spec.get("runtimeClassName") or ""
        found: JsonObject = {}
        if name:
            record = self._store.get(ObjectKey(RUNTIME_CLASSES.id, "", str(name)))
            if record is None:
                raise forbidden(PODS, asked.name, f'pod rejected: RuntimeClass "{name}" not found')
            found = decode_object(record.data)
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead and not spec.get("overhead"):
            spec["overhead"] = overhead
        elif spec.get("overhead") and not overhead:
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden(PODS, asked.name, why)
        elif overhead and spec["overhead"] != overhead:
            why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise forbidden(PODS, asked.name, why)
        self._set_nodes(spec, found.get("scheduling") or {}, asked)

    def _set_nodes(self, spec: JsonObject, scheduling: JsonObject, asked: Asked) -> None:
        """A pod runs where its runtime is."""
        wanted, selector = scheduling.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
        for key, value in wanted.items():
            if selector.get(key, value) != value:
                raise forbidden(
                    PODS,
                    asked.name,
                    f"pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                    f"pod.spec.nodeSelector[{key}] = {selector[key]}",
                )
        if wanted:
            spec["nodeSelector"] = {**selector, **wanted}
        missing = [one for one in scheduling.get("tolerations") or () if one not in (spec.get("tolerations") or ())]
        if missing:
            spec["tolerations"] = [*(spec.get("tolerations") or ()), *missing]

    def _set_priority(self, spec: JsonObject, asked: Asked) -> None:
        name = spec.get("priorityClassName") or ""
        if name:
            found = self._classes.get(name)
            if found is None:
                raise forbidden(PODS, asked.name, f"no PriorityClass with name {name} was found")
        else:
            name, found = self._default()
            if name:
                spec["priorityClassName"] = name
        priority = spec.get("priority")
        if priority is not None and priority != found.value:
            raise forbidden(
                PODS,
                asked.name,
                f"the integer value of priority ({priority}) must not be provided in pod spec; priority admission "
                f"controller computed {found.value} from the given PriorityClass name",
            )
        preemption = spec.get("preemptionPolicy")
        if preemption is not None and preemption != found.preemption:
            raise forbidden(
                PODS,
                asked.name,
                f"the string value of PreemptionPolicy ({preemption}) must not be provided in pod spec; priority "
                f"admission controller computed {found.preemption} from the given PriorityClass name",
            )
        spec["priority"] = found.value
        spec["preemptionPolicy"] = found.preemption

    def _default(self) -> tuple[str, _Class]:
        """The class of pods that name none: the lowest of those marked as global default."""
        marked = [(found.value, name) for name, found in self._classes.items() if found.is_default]
        if not marked:
            return "", _NONE
        name = min(marked)[1]
        return name, self._classes[name]

    def _follow(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            if event.record.key.resource == PRIORITY_CLASSES.id:
                if event.kind is EventKind.DELETED:
                    self._classes.pop(event.record.key.name, None)
                else:
                    self._put(event.record)

    def _put(self, record: Record) -> None:
        obj = decode_object(record.data)
        self._classes[record.key.name] = _Class(
            obj.get("value", 0), obj.get("preemptionPolicy") or _PREEMPT, bool(obj.get("globalDefault"))
        )


_NONE = _Class(0, _PREEMPT, is_default=False)


def _tolerate(spec: JsonObject) -> None:
    tolerations = spec.get("tolerations")
    if tolerations is None:
        tolerations = []
    if not isinstance(tolerations, list):
        return
    missing = [key for key in _TOLERATED if not any(_covers(toleration, key) for toleration in tolerations)]
    if missing:
        spec["tolerations"] = tolerations + [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATION_SECONDS}
            for key in missing
        ]


def _tolerate_simulation(spec: JsonObject) -> None:
    """Shares are of simulated devices: what asks for one may run on the tainted nodes that have them."""
    tolerations = spec.get("tolerations")
    wanted = {"key": SIMULATED_TAINT, "operator": "Exists", "effect": "NoSchedule"}
    if isinstance(tolerations, list) and wanted not in tolerations:
        spec["tolerations"] = [*tolerations, wanted]


def _covers(toleration: object, key: str) -> bool:
    return (
        isinstance(toleration, dict)
        and toleration.get("key") in (key, None, "")
        and toleration.get("effect") in ("NoExecute", None, "")
    )
