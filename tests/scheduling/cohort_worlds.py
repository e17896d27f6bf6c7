"""Random quotas, cohorts and requests for tests of what cohorts share."""

import hypothesis.strategies as st

from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts

NAMESPACES = ("a", "b", "c", "d")
COHORTS = ("x", "y", "z")
some = st.sampled_from((None, None, 0, 1, 3))
quotas = st.builds(
    QuotaFacts,
    st.sampled_from(NAMESPACES),
    total_compute=st.sampled_from((None, 0, 4, 8)),
    total_vram=st.sampled_from((None, 6)),
    total_devices=st.sampled_from((None, 0, 2, 4, 6)),
    total_workers=st.sampled_from((None, None, 3)),
    cohort=st.sampled_from(("", *COHORTS)),
    fair_weight=st.sampled_from((1, 1, 2, 5)),
    borrow_compute=some,
    borrow_devices=some,
    lend_compute=some,
    lend_devices=some,
)
cohorts = st.builds(
    CohortFacts,
    st.sampled_from(COHORTS),
    parent=st.sampled_from(("", *COHORTS, "unknown")),
    fair_weight=st.sampled_from((1, 3)),
    reclaim=st.sampled_from(ReclaimPolicy),
    borrow_devices=some,
    lend_devices=some,
    lend_vram=some,
)
requests = st.builds(
    GpuRequest,
    st.just("pool"),
    count=st.integers(1, 3),
    compute=st.integers(0, 3),
    vram=st.integers(0, 3),
)


def gpus(namespace: str, own: int, cohort: str = "x", **other: int) -> QuotaFacts:
    return QuotaFacts(namespace, total_devices=own, cohort=cohort, **other)  # type: ignore[arg-type]
