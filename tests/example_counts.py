"""How many examples of a property a run looks at: half of them in ``make test``, all in ``make test-examples``.

They are other ones in each run, so that what one run leaves out the next ones look at.
"""

from hypothesis import HealthCheck, settings

_ALL = 100
"""What hypothesis looks at where a test names no number: a profile's own number is its part of this."""

# How long an example takes is the machine's business: a test that fails for it says nothing about the code.
_any_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("half", _any_machine, max_examples=_ALL // 2)
settings.register_profile("all", _any_machine, max_examples=_ALL)


def part_of(number: int) -> int:
    """As many of so many examples as this run looks at."""
    return max(1, number * settings.default.max_examples // _ALL)
