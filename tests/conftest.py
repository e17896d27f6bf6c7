"""Options and markers of the whole test suite."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business: a test that fails for it says nothing about the code.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

LONGEST = 7200
"""Seconds that a test may take which thousands of kills or examples are the point of."""


@pytest.fixture(autouse=True)
def _log_level_as_before() -> Iterator[None]:
    """Programs that run inside a test set the level of the whole process."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real", action="store_true", help="end-to-end tests on a real control plane (KUBEBUILDER_ASSETS)"
    )
    parser.addoption(
        "--server",
        metavar="NAME",
        help="what tests/contract runs against: embedded (default), real (KUBEBUILDER_ASSETS), or a folder of programs",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests run only when asked for by -m; tests of the shared cluster share one worker, those with a
    cluster of their own have one worker a module. Groups begin first: a long one that began last would keep one
    worker busy while the others have nothing left. Within groups, and behind them, the order stays random.
    """
    wanted = str(config.getoption("-m") or "")
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(LONGEST))
            if "long" not in wanted:
                item.add_marker(pytest.mark.skip(reason="long: run by make test-long"))
        if "/e2e/" in item.path.as_posix():
            item.add_marker(pytest.mark.e2e)
            uses_shared = "cluster" in getattr(item, "fixturenames", ())
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group("e2e" if uses_shared else item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
