"""Counts that may also be percentages, as rolling updates and disruption budgets state them.

Source: kubernetes pkg/apis/apps/validation (ValidatePositiveIntOrPercent), texts seen through a real server.
"""

import re

from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import complain

Amount = int | str
_PERCENT = re.compile(r"[0-9]+%").fullmatch
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)


def check_amount(amount: Amount, path: Path, problems: list[Problem], *, most_all: bool) -> bool:
    """Whether this is a count or a percentage that is not negative; with ``most_all`` at most 100%."""
    before = len(problems)
    if isinstance(amount, int):
        if amount < 0:
            complain(problems, path, amount, ["must be greater than or equal to 0"])
    elif not _PERCENT(amount):
        complain(problems, path, amount, [_PERCENT_TEXT])
    elif most_all and int(amount[:-1]) > 100:
        complain(problems, path, amount, ["must not be greater than 100%"])
    return len(problems) == before


def is_some(amount: Amount) -> bool:
    return amount not in (0, "0%")
