"""Who may hold how much of a tree of cohorts, said a second time: as what each part of the tree has left or lacks.

Nothing is kept: every question adds everything up. A node's *balance* is what it offers its parent (above zero) or
needs of it (below): of a namespace its own less what it holds, of a cohort what its members offer less what they need;
never more than it may lend. A namespace may hold more if no balance that this changes, its own or that of a cohort
above it, falls below what the node may borrow; the root may borrow nothing.
"""

from collections.abc import Mapping
from fractions import Fraction

from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts

DIMENSIONS = ("compute", "vram", "devices")
Amounts = tuple[int, int, int]


class ReferenceCohorts:
    """Quotas by namespace, cohorts by name, and what each namespace holds (GFLOPS, bytes, devices)."""

    def __init__(
        self, quotas: Mapping[str, QuotaFacts], cohorts: Mapping[str, CohortFacts], held: Mapping[str, Amounts]
    ) -> None:
        self.quotas = {name: quota for name, quota in quotas.items() if quota.cohort}
        self.cohorts = cohorts
        self.held = held

    def parent(self, cohort: str) -> str | None:
        """The parent that counts."""
        facts = self.cohorts.get(cohort)
        above = self.cohorts.get(facts.parent) if facts is not None else None
        return None if above is None or above.parent or above.name == cohort else above.name

    def root(self, namespace: str) -> str:
        """The name of the tree; empty for none."""
        if namespace not in self.quotas:
            return ""
        cohort = self.quotas[namespace].cohort
        return self.parent(cohort) or cohort

    def tree(self, root: str) -> list[str]:
        """The namespaces of a tree."""
        return sorted(name for name in self.quotas if self.root(name) == root)

    def own(self, namespace: str, part: int) -> int | None:
        """What the namespace has of its own."""
        found: int | None = getattr(self.quotas[namespace], f"total_{DIMENSIONS[part]}")
        return found

    def uses(self, namespace: str, part: int) -> int:
        """What it holds of what it shares."""
        return self.held.get(namespace, (0, 0, 0))[part] if self.own(namespace, part) is not None else 0

    def balance(self, cohort: str, part: int, *, with_limit: bool = True) -> int:
        """What a cohort offers or needs."""
        namespaces = [name for name, quota in self.quotas.items() if quota.cohort == cohort]
        below = [name for name in self.cohorts if self.parent(name) == cohort]
        found = sum(self.offer(name, part) for name in namespaces) + sum(self.balance(name, part) for name in below)
        facts = self.cohorts.get(cohort)
        lend = getattr(facts, f"lend_{DIMENSIONS[part]}") if facts is not None and self.parent(cohort) else None
        return found if lend is None or not with_limit else min(found, lend)

    def offer(self, namespace: str, part: int) -> int:
        """What a namespace offers or needs."""
        found = (self.own(namespace, part) or 0) - self.uses(namespace, part)
        lend = getattr(self.quotas[namespace], f"lend_{DIMENSIONS[part]}")
        return found if lend is None else min(found, lend)

    def with_more(self, namespace: str, more: Amounts) -> "ReferenceCohorts":
        """The same with more held by a namespace."""
        now = self.held.get(namespace, (0, 0, 0))
        after = (now[0] + more[0], now[1] + more[1], now[2] + more[2])
        return ReferenceCohorts(self.quotas, self.cohorts, {**self.held, namespace: after})

    def refused(self, namespace: str, more: Amounts) -> int | None:
        """The first dimension in which the namespace may not hold so much more; None where it may."""
        after = self.with_more(namespace, more)
        for part in range(3):
            if more[part] and self.own(namespace, part) is not None and not self._may(after, namespace, part):
                return part
        return None

    def room(self, namespace: str, part: int) -> int:
        """How much more of one dimension the namespace may hold."""
        low, high = 0, sum(self.own(name, part) or 0 for name in self.tree(self.root(namespace)))
        while low < high:
            more = (low + high + 1) // 2
            amounts = (more * (part == 0), more * (part == 1), more * (part == 2))
            low, high = (low, more - 1) if self.refused(namespace, amounts) is not None else (more, high)
        return low

    def _may(self, after: "ReferenceCohorts", namespace: str, part: int) -> bool:
        balance = after.offer(namespace, part)
        if balance == self.offer(namespace, part):
            return True
        limit = getattr(self.quotas[namespace], f"borrow_{DIMENSIONS[part]}")
        if limit is not None and balance < -limit:
            return False
        cohort: str | None = self.quotas[namespace].cohort
        while cohort is not None:
            balance, parent = after.balance(cohort, part), self.parent(cohort)
            if balance == self.balance(cohort, part):
                return True
            facts = self.cohorts.get(cohort)
            limit = 0 if parent is None else getattr(facts, f"borrow_{DIMENSIONS[part]}")
            if limit is not None and balance < -limit:
                return False
            cohort = parent
        return True

    def share(self, namespace: str) -> Fraction:
        """The dominant share of what a namespace holds above its own."""
        tree = self.tree(self.root(namespace))
        shares = [
            Fraction(
                max(0, self.uses(namespace, part) - (self.own(namespace, part) or 0)),
                max(1, sum(self.own(name, part) or 0 for name in tree)) * self.quotas[namespace].fair_weight,
            )
            for part in range(3)
        ]
        return max(shares)

    def cohort_share(self, cohort: str) -> Fraction:
        """The dominant share of what a cohort needs of its parent."""
        facts = self.cohorts.get(cohort)
        tree = self.tree(self.parent(cohort) or cohort)
        return max(
            Fraction(
                max(0, -self.balance(cohort, part, with_limit=False)),
                max(1, sum(self.own(name, part) or 0 for name in tree)) * (facts.fair_weight if facts else 1),
            )
            for part in range(3)
        )
