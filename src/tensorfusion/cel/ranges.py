"""From-to pairs of sizes and costs, which stop growing at the largest unsigned number of 64 bits.

Source: cel-go's cost estimates, whose roundings and limits these are.
"""

import math
from typing import NamedTuple

LARGEST = (1 << 64) - 1


class Range(NamedTuple):
    """The least and the most that a size or a cost may be."""

    least: int
    most: int

    def plus(self, other: "Range") -> "Range":
        return Range(min(self.least + other.least, LARGEST), min(self.most + other.most, LARGEST))

    def times(self, other: "Range") -> "Range":
        return Range(min(self.least * other.least, LARGEST), min(self.most * other.most, LARGEST))

    def scaled(self, factor: float) -> "Range":
        """Both ends times a factor, rounded up."""
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def joined(self, other: "Range") -> "Range":
        """The smallest range that holds both."""
        return Range(min(self.least, other.least), max(self.most, other.most))


def exactly(number: int) -> Range:
    return Range(number, number)


NOTHING_YET = Range(LARGEST, 0)
UNKNOWN = Range(0, LARGEST)
FREE, ONE = exactly(0), exactly(1)


def _scaled(number: int, factor: float) -> int:
    product = float(number) * factor
    return LARGEST if product >= 2.0**64 else math.ceil(product)
