"""The suite proves itself: it sees deliberate defects of the embedded server, and they alone.

One embedded server for all of them, in this process, whichever server the behaviours themselves are tried on.
"""

from collections.abc import Iterator

import pytest

from asking import Address, Api, kubectl_of
from behaviours import every_behaviour
from defects import DEFECTS, Defect
from servers import embedded

SOON = 1.0
"""Seconds that a behaviour waits for what a defective server never does."""


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with embedded(tmp_path_factory.mktemp("defects")) as found:
        yield found


def failure(address: Address, numbers: tuple[int, ...], *, patience: float) -> Exception | None:
    """Try behaviours; how the first one failed that did."""
    known = every_behaviour()
    for number in numbers:
        api = Api(address, patience)
        try:
            known[number].try_on({"api": api, "kubectl": kubectl_of(api)})
        except Exception as error:
            return error
        finally:
            api.close()
    return None


@pytest.mark.parametrize("defect", DEFECTS, ids=[defect.name for defect in DEFECTS])
def test_a_defect_is_seen(defect: Defect, in_process: Address) -> None:
    with defect.injected():
        assert failure(in_process, defect.seen_by, patience=SOON), f"nobody sees that {defect.name}"
    assert failure(in_process, defect.seen_by, patience=30.0) is None


def test_each_defect_has_a_name_of_its_own() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
