"""The libraries that Kubernetes adds to CEL's standard functions.

The authorizer is not among them: it is offered to admission policies, which are not served.

Source: apiserver pkg/cel/environment/base.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.cel.declarations import Function, Library, merged
from tensorfusion.cel.library.addresses import ADDRESSES
from tensorfusion.cel.library.formats import NAMED_FORMATS
from tensorfusion.cel.library.lists import LISTS
from tensorfusion.cel.library.quantities import QUANTITIES
from tensorfusion.cel.library.rearranging import REARRANGING
from tensorfusion.cel.library.regex import REGEX
from tensorfusion.cel.library.sets import SETS
from tensorfusion.cel.library.strings import STRINGS
from tensorfusion.cel.library.urls import URLS
from tensorfusion.cel.library.versions import VERSIONS
from tensorfusion.cel.macros import SORTING as SORTING_MACROS
from tensorfusion.cel.macros import STANDARD as STANDARD_MACROS
from tensorfusion.cel.macros import Macros
from tensorfusion.cel.standard import STANDARD


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an expression may call, and the macros it may use."""

    functions: Mapping[str, Function]
    macros: Macros


# What a new expression may use: all that a server of one minor version before also knows.
KUBERNETES: tuple[Library, ...] = (STRINGS, LISTS, SETS, REGEX, QUANTITIES, ADDRESSES, VERSIONS, URLS, NAMED_FORMATS)
# What an expression may use that is stored already.
KUBERNETES_STORED: tuple[Library, ...] = (*KUBERNETES, REARRANGING)
NEW = Dialect(merged([*STANDARD, *KUBERNETES]), STANDARD_MACROS)
STORED = Dialect(merged([*STANDARD, *KUBERNETES_STORED]), {**STANDARD_MACROS, **SORTING_MACROS})
