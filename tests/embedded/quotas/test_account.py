"""One quota added up: whatever comes and goes, the sum is that of what is there."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tensorfusion.embedded.pod_amounts import Amount
from tensorfusion.embedded.quotas.account import Account
from tensorfusion.units import parse_quantity


def quota(hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}}


def pod(cpu: int, phase: str = "Pending") -> dict[str, Any]:
    resources = {"requests": {"cpu": f"{cpu}m"}}
    return {"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}, "status": {"phase": phase}}


class Ledger(RuleBasedStateMachine):
    """Writes begin, are committed or fail, objects change and go: against plain recounting."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account(quota({"pods": "6", "requests.cpu": "3"}))
        self.stored: dict[str, dict[str, Any]] = {}
        self.under_way: dict[str, tuple[int, dict[str, Any]]] = {}
        self.made = 0

    @rule(cpu=st.integers(1, 2000))
    def begin(self, cpu: int) -> None:
        obj = pod(cpu)
        if self.account.problem("pods", obj, None):
            return
        self.made += 1
        uid = f"u{self.made}"
        self.under_way[uid] = (self.account.hold(uid, self.account.increase("pods", obj, None)), obj)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), commits=st.booleans())
    def finish(self, data: st.DataObject, *, commits: bool) -> None:
        uid = data.draw(st.sampled_from(sorted(self.under_way)))
        number, obj = self.under_way.pop(uid)
        if commits:
            self.stored[uid] = obj
            self.account.count(uid, self.account.usage("pods", obj))
        self.account.release(uid, number)

    @precondition(lambda self: self.stored)
    @rule(data=st.data(), gone=st.booleans())
    def end(self, data: st.DataObject, *, gone: bool) -> None:
        uid = data.draw(st.sampled_from(sorted(self.stored)))
        if gone:
            del self.stored[uid]
            self.account.count(uid, {})
        else:
            self.stored[uid] = {**self.stored[uid], "status": {"phase": "Failed"}}
            self.account.count(uid, self.account.usage("pods", self.stored[uid]))

    @invariant()
    def the_sum_is_that_of_what_is_there_and_never_over(self) -> None:
        living = [obj for obj in self.stored.values() if obj["status"]["phase"] != "Failed"]
        amounts = [parse_quantity(obj["spec"]["containers"][0]["resources"]["requests"]["cpu"]) for obj in living]
        assert self.account.used["pods"].value == len(living) <= 6
        assert self.account.used["requests.cpu"].value == sum(amounts) <= 3

    @invariant()
    def nothing_stays_held_when_nothing_is_under_way(self) -> None:
        if not self.under_way:
            room = 6 - self.account.used["pods"].value
            assert (self.account.problem("pods", pod(0), None) == "") is (room >= 1)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30)


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]))))
def test_amounts_add_up_exactly_and_are_written_back_as_they_are(parts: list[tuple[int, str]]) -> None:
    total = Amount(parse_quantity("0"))
    for number, suffix in parts:
        total += Amount.parse(f"{number}{suffix}")
    assert total.value == sum(parse_quantity(f"{number}{suffix}") for number, suffix in parts)
    assert parse_quantity(str(total)) == total.value


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (["500m", "500m"], "1"),
        (["1Gi", "512Mi"], "1536Mi"),
        (["1Gi", "1"], "1073741825"),
        (["1k", "500"], "1500"),
        (["0", "1Gi"], "1Gi"),
    ],
)
def test_a_sum_is_written_like_its_first_part(parts: list[str], shown: str) -> None:
    total = Amount(parse_quantity("0"))
    for part in parts:
        total += Amount.parse(part)
    assert str(total) == shown


def test_a_pod_with_devices_uses_them_under_their_request_name() -> None:
    account = Account(quota({"requests.nvidia.com/gpu": "4", "count/pods": "9"}))
    resources = {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
    obj = {"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}, "status": {}}
    shown = {name: str(amount) for name, amount in account.usage("pods", obj).items()}
    assert shown == {"requests.nvidia.com/gpu": "2", "count/pods": "1"}


def test_other_kinds_are_in_no_scope() -> None:
    account = Account(quota({"count/configmaps": "1"}, scopes=["NotBestEffort"]))
    assert account.usage("configmaps", {"metadata": {}}) == {}
