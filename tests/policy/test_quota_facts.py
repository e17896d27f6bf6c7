"""Several quotas of one namespace, of which some name a cohort."""

from typing import Any

import msgspec
import pytest

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.request import GpuRequest
from tensorfusion.policy.quota_facts import quota_facts
from tensorfusion.scheduling.facts import QuotaFacts
from tensorfusion.scheduling.quota import QuotaBook


def quota(name: str, **spec: Any) -> GPUResourceQuota:
    return msgspec.convert({"metadata": {"name": name, "namespace": "a"}, "spec": spec}, GPUResourceQuota)


def fits(book: QuotaBook, count: int) -> bool:
    try:
        book.check("a", GpuRequest("pool", count=count))
    except QuotaExceeded:
        return False
    return True


@pytest.mark.parametrize(
    ("share", "most", "lent"),
    [
        ({"total": {"requests": {"tflops": "100"}}}, 4, 0),
        ({"total": {"maxGPUCount": 2}}, 4, 2),
        ({"total": {"maxGPUCount": 2}, "borrowing": {"limit": {"gpuCount": 1}}}, 3, 2),
        ({"total": {"maxGPUCount": 6}}, 4, 4),
    ],
)
def test_the_ceiling_of_a_quota_without_a_cohort_is_not_passed_by_borrowing(share: Any, most: int, lent: int) -> None:
    facts = quota_facts("a", [quota("wall", total={"maxGPUCount": 4}), quota("share", cohort="x", **share)])
    assert facts is not None
    book = QuotaBook()
    book.set(facts)
    book.set(QuotaFacts("b", total_devices=4, cohort="x"))
    assert (fits(book, most), fits(book, most + 1)) == (True, False)
    member = book.cohorts.member("b")
    assert member is not None and member.room(2) == 4 + lent
