"""Which pools a namespace may use: the annotation ``tensor-fusion.ai/allowed-pools`` of the Namespace.

A comma list of pool names; a namespace without the annotation may use every pool. Tenants have no right to write
Namespaces, so the annotation is an administrator's word. A pod that names no pool gets the default pool where that is
allowed, else the namespace's only pool.
"""

from dataclasses import dataclass

from tensorfusion.model import keys
from tensorfusion.model.core import Namespace


@dataclass(frozen=True, slots=True)
class AllowedPools:
    """The pools of one namespace; ``names`` None allows all."""

    namespace: str
    names: tuple[str, ...] | None

    def allows(self, pool: str) -> bool:
        return self.names is None or pool in self.names

    def only(self) -> str | None:
        """The pool of a namespace that has just one."""
        return self.names[0] if self.names is not None and len(self.names) == 1 else None

    def refusal(self, source: str, found: str) -> str:
        """Why a pool is refused, or the lack of one: ``found`` is the name, or words for none."""
        if not self.names:
            wanted = f"no pool at all: namespace {self.namespace} may use none"
        else:
            wanted = f"one of the pools that namespace {self.namespace} may use ({', '.join(self.names)})"
        return f"{source}: wanted {wanted}, found {found}: name an allowed one, or ask an administrator"


def allowed_pools(namespace: Namespace) -> AllowedPools:
    """What the Namespace's annotation says."""
    text = namespace.metadata.annotations.get(keys.ALLOWED_POOLS)
    names = None if text is None else tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    return AllowedPools(namespace.metadata.name, names)
