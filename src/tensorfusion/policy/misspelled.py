"""Labels and annotations of ours that nobody knows but that look like one that somebody meant.

Only a near miss is worth a word: other software may keep keys of its own under our domain.
"""

from collections.abc import Iterable

from tensorfusion.model import keys
from tensorfusion.suggestions import nearest

_PREFIX = f"{keys.DOMAIN}/"
_KNOWN = frozenset(
    value
    for name, value in vars(keys).items()
    if name.isupper() and isinstance(value, str) and value.startswith(_PREFIX)
)
_OTHERS = frozenset(
    _PREFIX + name
    for name in (
        *("host-port", "port-name", "partition", "auto-replicas", "standalone-worker-mode"),
        *("resource-claim-template", "expansion-source", "provisioned", "arch", "used-by", "display-name"),
    )
)
"""Keys of the API that this version does not read: known, and no mistake."""
_MOST = 3


def misspelled(labels: Iterable[object], annotations: Iterable[object]) -> tuple[str, ...]:
    """One line for each key that is probably a mistake, the first few of them."""
    found: list[str] = []
    for what, names in (("label", labels), ("annotation", annotations)):
        for name in names:
            if not isinstance(name, str) or not name.startswith(_PREFIX) or name in _KNOWN or name in _OTHERS:
                continue
            likely = nearest(name.removeprefix(_PREFIX)[:64], (known.removeprefix(_PREFIX) for known in _KNOWN))
            if likely and len(found) < _MOST:
                found.append(f"{what} {name[:100]} is not known: did you mean {_PREFIX}{likely[0]}?")
    return tuple(found)
