"""What a decision about a new pod may look at, and what it says.

Apart from the decision because its callers, and other decisions about pods, speak the same words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import resources as r
from tensorfusion.model.core import Namespace, SizedOwner
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.providers import Providers
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.workload import TensorFusionWorkload, WorkloadProfile
from tensorfusion.policy.canary import Canary
from tensorfusion.policy.host_ports import HostPort
from tensorfusion.policy.patches import Op
from tensorfusion.policy.resolve import Capacities

BAD_REQUEST = 400
FORBIDDEN = 403
_LONGEST_MESSAGE = 360


class Snapshot(Capacities, Protocol):
    """What a pod may refer to, as it is known now."""

    def pool(self, name: str) -> GPUPool | None: ...

    def default_pool(self) -> GPUPool | None: ...

    def namespace(self, name: str) -> Namespace | None: ...

    def profile(self, namespace: str, name: str) -> WorkloadProfile | None: ...

    def quota(self, namespace: str) -> GPUResourceQuota | None: ...

    def workload(self, namespace: str, name: str) -> TensorFusionWorkload | None: ...

    def providers(self) -> Providers: ...

    def has_route(self, namespace: str, name: str) -> bool: ...

    def owner(self, resource: r.Resource, namespace: str, name: str) -> SizedOwner | None: ...


@dataclass(frozen=True, slots=True)
class Missing:
    """An object that the snapshot does not have: worth one look at the API before the pod is refused for it.

    ``name`` is empty for "any pool that is the default".
    """

    resource: r.Resource
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a pod is refused: one line that names the annotation, the wanted and the found value."""

    code: int
    message: str
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``denial`` set: refused. Else allowed, with the JSON patch in ``ops`` (empty: unchanged).

    ``admitted`` says that the pod takes a share; an allowed pod that takes none is not admitted. ``canary`` makes the
    changes depend on the counter of the pod's controller: where that is full, the pod stays as ``left_native`` says.
    ``host_port`` asks for a port beside the changes.
    """

    ops: tuple[Op, ...] = ()
    denial: Denial | None = None
    warnings: tuple[str, ...] = ()
    admitted: bool = False
    canary: Canary | None = None
    host_port: HostPort | None = None


UNCHANGED = Verdict()


class NotAllowed(InvalidRequest):
    """The wish is well formed, and not this namespace's to make."""


class Unknown(InvalidRequest):
    """The wish names an object that is not known."""

    def __init__(self, message: str, missing: Missing) -> None:
        self.missing = missing
        super().__init__(message)


def one_line(message: str) -> str:
    """A message as one printable line of bounded length, whatever the values in it hold."""
    if not message.isprintable():
        message = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}..."


def forged_annotation(annotations: Mapping[str, str], key: str) -> Verdict:
    """The verdict about a new pod that has an annotation only the system may write."""
    return forbidden(f"annotation {key}: wanted it unset, found {annotations[key]!r}: only the system writes it")


def forbidden(message: str) -> Verdict:
    """The verdict that what is asked for is not the sender's to ask."""
    return Verdict(denial=Denial(FORBIDDEN, one_line(message)))
