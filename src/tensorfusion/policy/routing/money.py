"""Money of the gateway, in integers that add up exactly.

A price is whole micro-dollars for a million tokens. So a price times tokens is a whole number of pico-dollars
(10^-12), and that is the unit of everything that is summed: the cost of a request, of a day, of a tenant.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from tensorfusion.errors import InvalidRequest

MICRO = 1_000_000
PICO_PER_MICRO = 1_000_000
PICO = MICRO * PICO_PER_MICRO
_USD = re.compile(r"\$?([0-9]{1,12}(?:\.[0-9]{1,12})?)")


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars for a million tokens of prompt and of answer."""

    input: int
    output: int

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Pico-dollars, exact."""
        return prompt_tokens * self.input + completion_tokens * self.output


FREE = Price(0, 0)


def parse_usd(text: str) -> int:
    """``"$2.5"`` or ``"2.5"`` dollars as micro-dollars; parts of one round up, so that nothing is called free.

    Raises:
        InvalidRequest: no plain decimal number of dollars.
    """
    found = _USD.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"{text[:32]!r} is no amount of money: write dollars, such as 0.05 or $2.50")
    return int((Decimal(found[1]) * MICRO).to_integral_value(ROUND_CEILING))


def format_usd(pico: int) -> str:
    """Pico-dollars as plain decimal dollars without trailing zeros: 2,500,000,000 is ``"0.0025"``."""
    return usd_bytes(pico).decode()


def usd_bytes(pico: int) -> bytes:
    """As ``format_usd``, for a header field: every answer with a price has one."""
    sign, pico = (b"-", -pico) if pico < 0 else (b"", pico)
    whole, part = divmod(pico, PICO)
    return (b"%b%d.%012d" % (sign, whole, part)).rstrip(b"0").rstrip(b".")


def hourly_price(micro_per_hour: int, tokens_per_hour: int) -> Price:
    """What a token of one's own GPUs costs: what they cost an hour over what they answer in one; both ways alike.

    No tokens yet means a price of nothing: there is nothing to divide by.
    """
    if tokens_per_hour <= 0:
        return FREE
    each = -(-micro_per_hour * 1_000_000 // tokens_per_hour)
    return Price(each, each)
