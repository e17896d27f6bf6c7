"""Rewrite one manifest, whatever it is: the tables by kind, namespaces of cluster-scoped kinds, unknown fields.

Converting what was converted changes nothing. Objects that are not ours pass through, but for the pods in them.

Source: the platform's contract: the loose dialects cannot be repaired at admission, because pruning and strict
decoding come first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tensorfusion.model.crd import KINDS
from tensorfusion.model.resources import GROUP, VERSION
from tensorfusion.policy.dialects import azure_source, intelligence, llm_route, pods, quota
from tensorfusion.policy.dialects.draft import Draft, Json, Refusal
from tensorfusion.policy.unknown_fields import one_of, unknown_fields

_API_VERSION = f"{GROUP}/{VERSION}"

TABLES: Mapping[str, Callable[[Draft], None]] = {
    "LLMRoute": llm_route.rewrite,
    "WorkloadIntelligence": intelligence.rewrite,
    "AzureGPUSource": azure_source.rewrite,
    "GPUResourceQuota": quota.rewrite,
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A manifest in the schema, what was rewritten (one line each), what to know, and what could not be said."""

    document: Json
    rewrites: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def convert(document: Json) -> Conversion:
    """The manifest in the schema of its kind; never raises, whatever the document holds."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        return Conversion(document)
    kind, ours = document["kind"], document.get("apiVersion") == _API_VERSION
    if ours and kind not in KINDS:
        return Conversion(document, refusals=(_no_such_kind(kind),))
    table = TABLES.get(kind) if ours else (pods.rewrite if pods.handles(kind) else None)
    if table is None and not ours:
        return Conversion(document)
    draft = Draft.of(document)
    if table is not None:
        table(draft)
    if ours:
        kind = draft.document["kind"]
        _namespace(draft, kind)
        if not draft.refusals:
            draft.refusals += [
                Refusal(field.path, field.wanted, "an unknown field") for field in unknown_fields(kind, draft.document)
            ]
    return Conversion(draft.document, tuple(draft.rewrites), tuple(draft.warnings), tuple(draft.refusals))


def _namespace(draft: Draft, kind: str) -> None:
    if KINDS[kind].resource.namespaced or not draft.get("metadata.namespace"):
        return
    namespace = draft.take("metadata.namespace")
    if isinstance(namespace, str):
        draft.warnings.append(f"metadata.namespace: {namespace} is ignored: {kind} is cluster-scoped")


def _no_such_kind(kind: str) -> Refusal:
    return Refusal("kind", one_of(kind, sorted(KINDS)), f"{kind}, which this version does not have")
