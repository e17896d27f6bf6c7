"""Faults beside the decisions are contained: they are logged, and what fails must not stop the scheduler's loop."""

from collections.abc import Callable

from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


def contained(what: str, work: Callable[[], None]) -> None:
    """Do what goes along with decisions. The edge of the loop: a fault in it must not stop the decisions."""
    try:
        work()
    except Exception:
        log.exception("a step beside the decisions failed unexpectedly", step=what)
