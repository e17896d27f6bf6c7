"""The rules of CustomResourceDefinitions outside their schemas: names, versions, conversion, approval, updates.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation, texts seen through a real server.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from tensorfusion.embedded.patch import same_json
from tensorfusion.embedded.schema.definition_rules import known_expressions
from tensorfusion.embedded.schema.definition_versions import (
    check_columns,
    check_deprecation,
    check_selectable,
    check_subresources,
)
from tensorfusion.embedded.schema.names import label_1035
from tensorfusion.embedded.schema.path import Path, Problem, steps_of
from tensorfusion.embedded.schema.structure import check_structure
from tensorfusion.embedded.schema.webhook_clients import check_client
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    IMMUTABLE,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    invalid_value,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

_SPEC: Path = (None, "spec")
_PROTECTED = (".k8s.io", ".kubernetes.io")
_APPROVAL = "api-approved.kubernetes.io"
_APPROVALS = "https://github.com/kubernetes/enhancements/pull/1111"
_VERSIONS: Path = (_SPEC, "versions")
_STORED: Path = ((None, "status"), "storedVersions")
_REVIEWS = ("v1", "v1beta1")
_ORDER = (
    *("group", "scope", "versions", "version", "names", "validation", "subresources", "additionalPrinterColumns"),
    *("selectableFields", "conversion"),
)
_NAMES = ("plural", "singular", "kind", "listKind")


def check_definition(crd: Raw, old: Raw | None, problems: list[Problem]) -> None:
    """Everything a server refuses in a definition that has been decoded."""
    spec = crd.get("spec") or {}
    names, group, versions = spec.get("names") or {}, spec.get("group") or "", spec.get("versions") or ()
    metadata = crd.get("metadata") or {}
    if old is None and metadata.get("name") != f"{names.get('plural', '')}.{group}":
        text = 'must be spec.names.plural+"."+spec.group'
        complain(problems, ((None, "metadata"), "name"), metadata.get("name", ""), [text])
    if f".{group}".endswith(_PROTECTED):
        before = _approval(old) if old is not None else None
        if before is None or before != _approval(crd):
            _check_approval(_approval(crd), problems)
    if old is None or not _lets_go(crd, old):
        _check_spec(spec, old, problems)
    if old is not None:
        _check_update(crd, old, problems)
    else:
        _check_stored(versions, problems)
    problems.sort(key=_place)


def _lets_go(crd: Raw, old: Raw) -> bool:
    """An update that only takes finalizers away, or is of what is being deleted. A definition that an older program
    accepted, which knew fewer rules, has to stay able to go."""
    if old is crd or not same_json(crd.get("spec") or {}, old.get("spec") or {}):
        return False
    before = old.get("metadata") or {}
    kept = (crd.get("metadata") or {}).get("finalizers") or ()
    return "deletionTimestamp" in before or set(kept) < set(before.get("finalizers") or ())


def _check_spec(spec: Raw, old: Raw | None, problems: list[Problem]) -> None:
    """What is wrong with a specification itself."""
    group, versions = spec.get("group") or "", spec.get("versions") or ()
    if group and "." not in group:
        complain(problems, (_SPEC, "group"), group, ["should be a domain with at least one dot"])
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        complain(problems, (_SPEC, "preserveUnknownFields"), True, [text])
    _check_names(spec.get("names") or {}, problems)
    _check_versions(spec, ((old or {}).get("spec") or {}).get("versions") or (), problems)
    _check_conversion(spec.get("conversion") or {}, versions, problems)


def _place(problem: Problem) -> tuple[int, int, int]:
    """Where a real server comes to a problem: the name, the spec from group to conversion, the status, approval."""
    steps = [str(step) for step in steps_of(problem.path)]
    if problem.field is not None and problem.path is not None and steps[-1] == _APPROVAL:
        return len(_ORDER), 0, 0
    part = steps[1] if len(steps) > 1 and steps[0] == "spec" else ""
    name = _NAMES.index(steps[2]) if part == "names" and problem.reason == REQUIRED and steps[2] in _NAMES else 9
    return (
        {"metadata": 0, "spec": 1}.get(steps[0] if steps else "", 2),
        _ORDER.index(part) if part in _ORDER else 9,
        name,
    )


def _approval(crd: Raw) -> str:
    return ((crd.get("metadata") or {}).get("annotations") or {}).get(_APPROVAL) or ""


def _check_approval(approval: str, problems: list[Problem]) -> None:
    """Kinds of Kubernetes' own groups say who approved them, or that nobody did."""
    at: Path = (((None, "metadata"), "annotations"), _APPROVAL)
    field = f"metadata.annotations[{_APPROVAL}]"
    text = f'protected groups must have approval annotation "{_APPROVAL}"'
    if not approval:
        problems.append(Problem(at, required(f"{text}, see {_APPROVALS}"), REQUIRED, field=field))
        return
    if not approval.startswith("unapproved") and not _is_url(approval):
        text = f'{text} with either a URL or a reason starting with "unapproved", see {_APPROVALS}'
        problems.append(Problem(at, invalid_value(approval, text), field=field))


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return bool(url.scheme and url.netloc)


def storage_version(crd: Raw) -> Raw:
    """The version that objects are stored in. The definition must have been checked."""
    found: Raw = next(version for version in crd["spec"]["versions"] if version.get("storage"))
    return found


def _check_names(names: Raw, problems: list[Problem]) -> None:
    at: Path = (_SPEC, "names")
    if not names.get("kind"):  # which they are made of
        missing = [field for field in ("singular", "listKind") if not names.get(field)]
        problems.extend(Problem((at, field), required(), REQUIRED) for field in missing)
    for field in ("kind", "listKind"):
        name = names.get(field)
        if name:
            mixed = [f"may have mixed case, but should otherwise match: {text}" for text in label_1035(name.lower())]
            complain(problems, (at, field), name, mixed)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        complain(problems, (at, "listKind"), names["listKind"], ["kind and listKind may not be the same"])
    for field in ("shortNames", "categories"):
        for index, name in enumerate(names.get(field) or ()):
            complain(problems, ((at, field), index), name, label_1035(name))


def _schemas(versions: Sequence[Raw]) -> dict[str, Raw]:
    """The schemas of versions that have one, by name."""
    found = {version.get("name", ""): (version.get("schema") or {}).get("openAPIV3Schema") for version in versions}
    return {name: schema for name, schema in found.items() if schema is not None}


def _check_versions(spec: Raw, old: Sequence[Raw], problems: list[Problem]) -> None:
    versions = spec.get("versions")
    named = [version.get("name") or "" for version in versions or ()]
    for index, name in enumerate(named):
        if not name:
            complain(problems, ((_VERSIONS, index), "name"), name, label_1035(name))
        version = (versions or ())[index]
        check_deprecation(version, (_VERSIONS, index), problems)
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            at: Path = (((_VERSIONS, index), "schema"), "openAPIV3Schema")
            problems.append(Problem(at, required(), REQUIRED))
    if len(set(named)) < len(named):
        complain(problems, _VERSIONS, _shown_versions(versions), ["must contain unique version names"])
    if sum(bool(version.get("storage")) for version in versions or ()) != 1:
        text = "must have exactly one version marked as storage version"
        complain(problems, _VERSIONS, _shown_versions(versions), [text])
    if named and named[0]:
        complain(problems, (_SPEC, "version"), named[0], label_1035(named[0]))
    _check_parts(versions or (), old, problems)


def _shown_versions(versions: Sequence[Raw] | None) -> list[Raw] | None:
    """Versions as a real server quotes them, without what all of them say alike."""
    if versions is None:
        return None
    parts = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
    own = [part for part in parts if not _alike(versions, part)]
    return [
        {
            "Name": version.get("name") or "",
            "Served": bool(version.get("served")),
            "Storage": bool(version.get("storage")),
            "Deprecated": bool(version.get("deprecated")),
            "DeprecationWarning": version.get("deprecationWarning"),
            **{part[0].upper() + part[1:]: version.get(part) if part in own else None for part in parts},
        }
        for version in versions
    ]


def _alike(versions: Sequence[Raw], part: str) -> bool:
    return all(version.get(part) == versions[0].get(part) for version in versions)


def _parts(versions: Sequence[Raw], part: str) -> Iterator[tuple[Raw, Path]]:
    """The versions to look at for a part, and where it is: once, as the definition's own, if all say the same."""
    if _alike(versions, part):
        yield from ((version, _SPEC) for version in versions[:1])
    else:
        yield from ((version, (_VERSIONS, index)) for index, version in enumerate(versions))


def _check_parts(versions: Sequence[Raw], old: Sequence[Raw], problems: list[Problem]) -> None:
    before = _schemas(old)
    known = known_expressions(list(before.values()))
    for version, here in _parts(versions, "schema"):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            known = replace(known, schema=before.get(version.get("name", "")))
            part = "validation" if here is _SPEC else "schema"
            check_structure(schema, ((here, part), "openAPIV3Schema"), problems, known=known)
    for version, here in _parts(versions, "subresources"):
        check_subresources(version.get("subresources"), here, problems)
    for version, here in _parts(versions, "additionalPrinterColumns"):
        check_columns(version.get("additionalPrinterColumns") or (), (here, "additionalPrinterColumns"), problems)
    mixed = _alike(versions, "schema") and not _alike(versions, "selectableFields")
    for version, here in _parts(versions, "selectableFields"):
        if mixed and version.get("selectableFields"):  # a server's own mistake: the schema has become the definition's
            text = "may only be set when `version.schema.openAPIV3Schema` is not included"
            complain(problems, (here, "selectableFields"), "", [text])
            continue
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        check_selectable(version.get("selectableFields") or (), schema, (here, "selectableFields"), problems)


def _check_stored(versions: Sequence[Raw], problems: list[Problem]) -> None:
    """What a new definition would say that it stores: its first storage version."""
    storing = [version.get("name") or "" for version in versions if version.get("storage")]
    if not storing:
        complain(problems, _STORED, None, ["must have at least one stored version"])
    for name in storing[1:]:
        complain(problems, _STORED, storing[:1], [f"must have the storage version {name}"])


def _check_conversion(conversion: Raw, versions: Sequence[Raw], problems: list[Problem]) -> None:
    """Versions differ in name only here: nothing calls a conversion webhook, so none is promised."""
    at: Path = (_SPEC, "conversion")
    webhook: Raw = conversion.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    at_client, at_reviews = (at, "webhookClientConfig"), (at, "conversionReviewVersions")
    if conversion.get("strategy") != "Webhook":
        for given, where in ((client is not None, at_client), (bool(reviews), at_reviews)):
            if given:
                text = forbidden("should not be set when strategy is not set to Webhook")
                problems.append(Problem(where, text, FORBIDDEN))
        return
    if len(versions) > 1:
        problems.append(Problem((at, "strategy"), unsupported("Webhook", ("None",)), NOT_SUPPORTED))
    if client is None:
        problems.append(Problem(at_client, required("required when strategy is set to Webhook"), REQUIRED))
    else:
        check_client(client, at_client, problems)
    if not reviews:
        problems.append(Problem(at_reviews, required(), REQUIRED))
        return
    for index, name in enumerate(reviews):
        if name in reviews[:index]:
            complain(problems, (at_reviews, index), name, ["duplicate version"])
        else:
            complain(problems, (at_reviews, index), name, label_1035(name))
    if not set(reviews) & set(_REVIEWS):
        complain(problems, at_reviews, reviews, [f"must include at least one of {', '.join(_REVIEWS)}"])


def _check_update(crd: Raw, old: Raw, problems: list[Problem]) -> None:
    spec, before = crd.get("spec") or {}, old.get("spec") or {}
    for field in ("scope", "group"):
        if spec.get(field) != before.get(field):
            complain(problems, (_SPEC, field), spec.get(field), [IMMUTABLE])
    for field in ("kind", "plural"):
        name = (spec.get("names") or {}).get(field)
        if name != (before.get("names") or {}).get(field):
            complain(problems, ((_SPEC, "names"), field), name, [IMMUTABLE])
    names = {version.get("name") for version in spec.get("versions") or ()}
    for index, stored in enumerate((old.get("status") or {}).get("storedVersions") or ()):
        if stored not in names:
            text = (
                f"missing from spec.versions; {stored} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {stored} and "
                f"removes {stored} from status.storedVersions"
            )
            complain(problems, (((None, "status"), "storedVersions"), index), stored, [text])
    if (old.get("metadata") or {}).get("deletionTimestamp") and spec != before:
        text = forbidden("the definition is being deleted")
        problems.append(Problem(_SPEC, text, FORBIDDEN))
