"""One quota, added up: what its objects use, and what writes under way will use.

``counted`` is by the uid of the object, ``held`` by the uid and a number for each write under way. A commit of an
object replaces what was counted and held for it; a write that fails gives back what it held.
"""

from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.pod_amounts import Amount, Amounts
from tensorfusion.embedded.quotas.scopes import fits, scopes_of
from tensorfusion.embedded.quotas.usage import missing_amounts, resources_of, usage_of
from tensorfusion.model.resources import PODS
from tensorfusion.units import parse_quantity

_ZERO = Amount(parse_quantity("0"))


class Account:
    """The account of one quota. Not atomic by locks but by having no awaits."""

    def __init__(self, quota: JsonObject) -> None:
        self.name: str = quota["metadata"]["name"]
        self.shown_hard: dict[str, str] = dict((quota.get("spec") or {}).get("hard") or {})
        self.scopes = scopes_of(quota)
        self.resources = resources_of(self.shown_hard)
        self.used: Amounts = dict.fromkeys(self.shown_hard, _ZERO)
        self._hard = {name: Amount.parse(text) for name, text in self.shown_hard.items()}
        self._counted: dict[str, Amounts] = {}
        self._held: dict[str, dict[int, Amounts]] = {}
        self._taken: Amounts = dict(self.used)  # used and held
        self._number = 0

    def usage(self, resource: str, obj: JsonObject) -> Amounts:
        """What an object uses of this quota; nothing when the quota is not about it."""
        if resource not in self.resources or not fits(self.scopes, resource, obj):
            return {}
        return {name: amount for name, amount in usage_of(resource, obj).items() if name in self._hard}

    def problem(self, resource: str, obj: JsonObject, old: JsonObject | None) -> str:
        """Why the object may not be written, ``""`` when it may."""
        if resource == PODS.id and old is None and fits(self.scopes, resource, obj):
            missing = missing_amounts(obj, self._hard)
            if missing:
                return f"failed quota: {self.name}: {missing}"
        more = self.increase(resource, obj, old)
        over = sorted(
            name for name, amount in more.items() if (self._taken[name] + amount).value > self._hard[name].value
        )
        if not over:
            return ""
        wanted, used = (",".join(f"{name}={amounts[name]}" for name in over) for amounts in (more, self._taken))
        limited = ",".join(f"{name}={self.shown_hard[name]}" for name in over)
        return f"exceeded quota: {self.name}, requested: {wanted}, used: {used}, limited: {limited}"

    def increase(self, resource: str, obj: JsonObject, old: JsonObject | None) -> Amounts:
        """What a write adds. Less than before adds nothing: it is given back when it is committed."""
        usage = self.usage(resource, obj)
        before = self.usage(resource, old) if old is not None else {}
        more = {name: amount.minus(before[name]) if name in before else amount for name, amount in usage.items()}
        return {name: amount for name, amount in more.items() if amount.value > 0}

    def hold(self, uid: str, amounts: Amounts) -> int:
        """Keep room for a write under way; returns a number for ``release``."""
        self._number += 1
        self._held.setdefault(uid, {})[self._number] = amounts
        _change(self._taken, amounts, add=True)
        return self._number

    def release(self, uid: str, number: int) -> None:
        """The write is over. What was committed has been counted by then."""
        holds = self._held.get(uid)
        if holds is None:
            return
        amounts = holds.pop(number, None)
        if amounts is not None:
            _change(self._taken, amounts, add=False)
        if not holds:
            del self._held[uid]

    def count(self, uid: str, amounts: Amounts) -> bool:
        """An object was committed with this usage (empty: it is gone). Returns whether the sum has changed."""
        for held in self._held.pop(uid, {}).values():
            _change(self._taken, held, add=False)
        before = self._counted.pop(uid, {})
        if amounts:
            self._counted[uid] = amounts
        if amounts == before:
            return False
        for total in (self.used, self._taken):
            _change(total, amounts, add=True)
            _change(total, before, add=False)
        return True

    def knows(self, uid: str) -> bool:
        return uid in self._counted

    def status(self) -> JsonObject:
        """What the quota's status should be."""
        return {"hard": self.shown_hard, "used": {name: str(amount) for name, amount in self.used.items()}}


def _change(total: Amounts, amounts: Amounts, *, add: bool) -> None:
    for name, amount in amounts.items():
        total[name] = total[name] + amount if add else total[name].minus(amount)
