"""Options and markers of the whole test suite."""

import gc
import logging
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

import example_counts  # noqa: F401 - the profiles; make test-examples names the other one by --hypothesis-profile

settings.load_profile("half")

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


def pytest_itemcollected(item: pytest.Item) -> None:
    """Long tests run only when asked for by -m; tests of the shared cluster share one worker, those with a
    cluster of their own have one worker a module. Said here, as xdist reads the groups before it asks a conftest
    to modify the items.
    """
    if item.get_closest_marker("long"):
        item.add_marker(pytest.mark.timeout(LONGEST))
        if "long" not in str(item.config.getoption("-m") or ""):
            item.add_marker(pytest.mark.skip(reason="long: run by make test-long"))
    if "/e2e/" in item.path.as_posix():
        item.add_marker(pytest.mark.e2e)
        uses_shared = "cluster" in getattr(item, "fixturenames", ())
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("e2e" if uses_shared else item.path.stem))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Everything that is there once the tests are known stays to the end: looking through it for garbage, while it
    grows and again and again afterwards, would cost a fifth of the collection and a tenth of the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.set_threshold(20_000, 10, 20)
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups begin first: a long one that began last would keep one worker busy while the others have nothing left.
    Within groups, and behind them, the order stays random.
    """
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """A pair of versions that loses the groups fails no test, but starts every cluster once a worker.

    Source: pytest-dev/pytest-xdist issue 1386.
    """
    alone = [name for name in ids if "/e2e/" in name and "@" not in name]
    if alone and node.config.getoption("dist") == "loadgroup":
        raise pytest.UsageError(
            f"xdist does not see the groups of {len(alone)} tests with pytest {pytest.__version__}, first {alone[0]}: "
            "install the versions of constraints.txt (make dev)"
        )
