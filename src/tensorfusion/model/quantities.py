"""Amounts of a device on the wire, and their exact integers.

``ComputeResource`` is the ``Resource`` of the API: every dimension is optional, and unset is not the same as zero
(a quota enforces only what it sets).
"""

from typing import Annotated

from tensorfusion.model.rules import Cel, Part, Quantity, Rules
from tensorfusion.units import Rounding, to_bytes, to_gflops, to_milli

EXCLUSIVE = (
    Cel(
        "!has(self.tflops) || !has(self.compute) || string(self.tflops) == '0'",
        "tflops and compute exclude each other: state compute in TFLOPS or in percent of a device",
    ),
)
"""For what pods ask for; a capacity may state both."""


class ComputeResource(Part, frozen=True):
    """An amount of one device: compute and memory."""

    tflops: Annotated[Quantity, Rules("Compute in TFLOPS (10^12 FP16 operations a second).")] = ""
    compute: Annotated[Quantity, Rules("Compute in percent of one device, 0 to 100; instead of tflops.")] = ""
    vram: Annotated[Quantity, Rules("Device memory in bytes, such as 16Gi.")] = ""

    def gflops(self, rounding: Rounding = Rounding.UP) -> int | None:
        """Compute in GFLOPS; None where unset.

        Raises:
            InvalidQuantity: the value is no quantity.
        """
        return None if self.tflops == "" else to_gflops(self.tflops, rounding)

    def milli_percent(self, rounding: Rounding = Rounding.DOWN) -> int | None:
        """Compute in thousandths of a percent of one device; None where unset.

        Raises:
            InvalidQuantity: the value is no quantity.
        """
        return None if self.compute == "" else to_milli(self.compute, rounding)

    def vram_bytes(self, rounding: Rounding = Rounding.UP) -> int | None:
        """Memory in bytes; None where unset.

        Raises:
            InvalidQuantity: the value is no quantity.
        """
        return None if self.vram == "" else to_bytes(self.vram, rounding)


class ResourceBounds(Part, frozen=True):
    """What is guaranteed and what may be used at most."""

    requests: Annotated[ComputeResource | None, Rules("What is guaranteed.", required=True, cel=EXCLUSIVE)] = None
    limits: Annotated[ComputeResource | None, Rules("What may be used at most.", required=True, cel=EXCLUSIVE)] = None
