"""What goes wrong between two ends. Apart from ``tensorfusion.errors`` because no user sees these: callers reword them.

WireError
├── NotReached     no connection: the request was not sent
└── BrokenOff      sent, but no (whole) answer came: it may have been carried out
"""

from tensorfusion.errors import TensorFusionError


class WireError(TensorFusionError):
    """Base class."""


class NotReached(WireError):
    """No connection to ``origin`` could be made; the cause is the operating system's or TLS's own error."""

    def __init__(self, origin: str, why: str) -> None:
        self.origin = origin
        super().__init__(f"{origin}: {why}")


class BrokenOff(WireError):
    """The connection ended, or what came over it was no answer, behind the sending of the request."""
