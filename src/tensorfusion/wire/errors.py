"""What goes wrong between two ends. Apart from ``tensorfusion.errors`` because no user sees these: callers reword them.

WireError
├── NotReached     no connection: the request was not sent
│   └── Busy       all connections are in use, and so are the places in the queue for one
├── BrokenOff      sent, but no (whole) answer came: it may have been carried out
│   └── TimedOut   nothing came in time (a TimeoutError, too)
├── ClientLeft     who asked is gone, or was given up: nothing can be answered
└── Refused        a request that is answered with an error status instead of being carried out
"""

from enum import StrEnum

from tensorfusion.errors import TensorFusionError


class WireError(TensorFusionError):
    """Base class."""


class NotReached(WireError):
    """No connection to ``origin`` could be made; the cause is the operating system's or TLS's own error."""

    def __init__(self, origin: str, why: str) -> None:
        self.origin = origin
        super().__init__(f"{origin}: {why}")


class Busy(NotReached):
    """The origin is used to its limits from here."""


class BrokenOff(WireError):
    """The connection ended, or what came over it was no answer, behind the sending of the request.

    ``heard`` is whether a byte of an answer came. Where none came on a connection that was kept open (``reused``), the
    server has most probably closed it before it saw the request.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.heard = False
        self.reused = False


class Phase(StrEnum):
    """What was waited for in vain."""

    HEAD = "head"
    """Status and fields of the answer."""
    SILENCE = "silence"
    """The next bytes of its body."""
    TOTAL = "total"
    """The end of all of it."""


class TimedOut(BrokenOff, TimeoutError):
    """Nothing came in time; ``phase`` is what was waited for."""

    def __init__(self, phase: Phase, seconds: float) -> None:
        super().__init__(f"{_WAITED[phase]} within {seconds:g} s")
        self.phase = phase
        self.seconds = seconds


_WAITED = {
    Phase.HEAD: "no answer",
    Phase.SILENCE: "nothing more of the answer",
    Phase.TOTAL: "no whole answer",
}


class ClientLeft(WireError):
    """The connection of who asked has ended; what is written goes nowhere."""


class Refused(WireError):
    """To be answered with ``status`` and the text."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)
