"""A profile's node affinity, added to the pod's own: both have to hold.

Required terms are alternatives, so two lists of them hold together when one of each does: every pair becomes a term.
A pod whose every term already says one of the profile's is left alone, which makes admission idempotent.

Source: WorkloadProfile ``nodeAffinity`` (deprecated in favour of the pod's own affinity, still honoured).
"""

from collections.abc import Mapping, Sequence

import msgspec

from tensorfusion.model.core import NodeAffinity
from tensorfusion.policy.patches import Json, Patch, contains

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_PARTS = ("matchExpressions", "matchFields")


def add_node_affinity(patch: Patch, spec: Mapping[str, Json], wanted: NodeAffinity) -> None:
    """Add the operations that make a pod's node affinity say what the profile says too."""
    profile: Mapping[str, Json] = msgspec.json.decode(msgspec.json.encode(wanted))
    affinity = spec.get("affinity") or {}
    own = affinity.get("nodeAffinity") or {}
    merged = dict(own)
    terms = (profile.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()
    if terms:
        merged[_REQUIRED] = {"nodeSelectorTerms": _both((own.get(_REQUIRED) or {}).get("nodeSelectorTerms"), terms)}
    preferred = list(own.get(_PREFERRED) or ())
    for term in profile.get(_PREFERRED) or ():
        if not any(contains(one, term) for one in preferred):
            preferred.append({"weight": 1, **term})
    if preferred:
        merged[_PREFERRED] = preferred
    if merged != own:
        patch.set("/spec/affinity", spec.get("affinity"), {**affinity, "nodeAffinity": merged})


def _both(own: Sequence[Json] | None, wanted: Sequence[Json]) -> list[Json]:
    if not own:
        return list(wanted)
    if all(any(_says(term, alternative) for alternative in wanted) for term in own):
        return list(own)
    return [_joined(term, alternative) for term in own for alternative in wanted]


def _says(term: Mapping[str, Json], alternative: Mapping[str, Json]) -> bool:
    return all(
        any(contains(found, rule) for found in term.get(part) or ())
        for part in _PARTS
        for rule in alternative.get(part) or ()
    )


def _joined(term: Mapping[str, Json], alternative: Mapping[str, Json]) -> Json:
    joined = {part: [*(term.get(part) or ()), *(alternative.get(part) or ())] for part in _PARTS}
    return {part: rules for part, rules in joined.items() if rules}
