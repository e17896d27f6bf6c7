"""What travels with a request through the operations: who asks, how strictly, and what is to be admitted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tensorfusion.embedded.access.users import SYSTEM, User
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.schema.schema import FieldValidation


class Operation(StrEnum):
    """Wire values of an admission request's operation."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass(slots=True)
class Call:
    """One request. ``warnings`` collects what becomes Warning headers; ``manager`` owns the fields that it writes.

    ``repeated`` are complaints of keys that its body holds twice. ``options`` are the request's own, as webhooks are
    told of them. ``admitted``: the write is part of one that webhooks have seen, and are not asked about again.
    """

    user: User
    dry_run: bool = False
    validation: FieldValidation = FieldValidation.WARN
    warnings: list[str] = field(default_factory=list)
    manager: str = "unknown"
    repeated: Sequence[str] = ()
    options: JsonObject = field(default_factory=dict)
    admitted: bool = False

    @classmethod
    def system(cls, manager: str = "kube-controller-manager") -> "Call":
        """A request of the server itself, in the name of the part that does this in a real cluster."""
        return cls(SYSTEM, validation=FieldValidation.IGNORE, manager=manager)


class Propagation(StrEnum):
    """Wire values of DeleteOptions.propagationPolicy."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a deletion asks for. None means not stated; an empty precondition holds for no object."""

    uid: str | None = None
    resource_version: str | None = None
    grace_seconds: int | None = None
    propagation: Propagation | None = None


@dataclass(slots=True)
class Asked:
    """One write on its way through admission. Mutation replaces ``obj``.

    ``shape`` names group, version and kind of ``obj`` where it is not an object of ``kind`` (a Binding, a Scale).
    ``old_data`` is ``old`` as it is stored. Where something was charged or held, ``settle`` gives the rest back.
    """

    operation: Operation
    kind: Kind
    namespace: str
    name: str
    call: Call
    obj: JsonObject | None = None
    old: JsonObject | None = None
    old_data: bytes | None = None
    subresource: str = ""
    shape: tuple[str, str, str] | None = None
    settle: list[Callable[[], None]] = field(default_factory=list)

    def release(self) -> None:
        """The write is over, for better or worse."""
        for settle in self.settle:
            settle()
        self.settle.clear()

    def keep(self) -> None:
        """Nobody waits for the write any more, but it was accepted: what it holds goes with its commit."""
        self.settle.clear()

    @property
    def wanted(self) -> JsonObject:
        """``obj`` of a write that has one: everything but deletions."""
        if self.obj is None:
            raise TypeError(f"{self.operation} of {self.kind.resource.id} carries no object")
        return self.obj
