"""Rules of webhook configurations: where they are called, what they match, and that their conditions compile.

Source: kubernetes pkg/apis/admissionregistration/validation, texts seen through a real server.
"""

from collections.abc import Mapping, Sequence

from tensorfusion.embedded.conditions import check_condition
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.webhook_clients import check_client
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    NOT_SUPPORTED,
    REQUIRED,
    TOO_MANY,
    complain,
    duplicate,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_WILD = {"apiGroups": "API groups", "apiVersions": "API versions", "operations": "operations"}
_MOST_CONDITIONS = 64


def check_webhooks(configuration: Raw, old: Raw | None, problems: list[Problem]) -> None:
    names: set[str] = set()
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        at: Path = ((None, "webhooks"), index)
        name = webhook.get("name", "")
        if name and name.count(".") < 2:
            text = "should be a domain with at least three segments separated by dots"
            complain(problems, (at, "name"), name, [text])
        if name in names:
            problems.append(Problem((at, "name"), duplicate(name), DUPLICATE))
        names.add(name)
        versions = webhook.get("admissionReviewVersions") or ()
        if versions and not set(versions) & set(_REVIEW_VERSIONS):
            text = f"must include at least one of {', '.join(_REVIEW_VERSIONS)}"
            complain(problems, (at, "admissionReviewVersions"), versions, [text])
        check_client(webhook.get("clientConfig") or {}, (at, "clientConfig"), problems)
        for field in ("namespaceSelector", "objectSelector"):
            check_label_selector(webhook.get(field), (at, field), problems)
        for number, rule in enumerate(webhook.get("rules") or ()):
            _check_rule(rule, ((at, "rules"), number), problems)
        _check_conditions(webhook.get("matchConditions") or (), (at, "matchConditions"), problems)


def _check_rule(rule: Mapping[str, Sequence[str]], path: Path, problems: list[Problem]) -> None:
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            at: Path = ((path, "operations"), index)
            problems.append(Problem(at, unsupported(operation, _OPERATIONS), NOT_SUPPORTED))
    for field, named in _WILD.items():
        values = rule.get(field) or ()
        if "*" in values and len(values) > 1:
            complain(problems, (path, field), values, [f"if '*' is present, must not specify other {named}"])
    resources = rule.get("resources") or ()
    for index, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            problems.append(Problem(((path, "apiVersions"), index), required(), REQUIRED))
    if "*/*" in resources and len(resources) > 1:
        complain(problems, (path, "resources"), resources, ["if '*/*' is present, must not specify other resources"])
    else:
        _check_overlaps(resources, (path, "resources"), problems)


def _check_overlaps(resources: Sequence[str], path: Path, problems: list[Problem]) -> None:
    """What a wildcard covers is not named once more."""
    for index, resource in enumerate(resources):
        plural, slash, subresource = resource.partition("/")
        wider = f"{plural}/*" if subresource != "*" else ""
        if slash and plural != "*" and wider and wider in resources:
            complain(problems, (path, index), resource, [f"if '{wider}' is present, must not specify {resource}"])
        wider = f"*/{subresource}"
        if slash and plural != "*" and wider in resources:
            complain(problems, (path, index), resource, [f"if '{wider}' is present, must not specify {resource}"])
    if "*" in resources and any("/" not in item for item in resources if item != "*"):
        text = "if '*' is present, must not specify other resources without subresources"
        complain(problems, path, resources, [text])


def _check_conditions(conditions: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    names: set[str] = set()
    if len(conditions) > _MOST_CONDITIONS:
        text = f"Too many: {len(conditions)}: must have at most {_MOST_CONDITIONS} items"
        problems.append(Problem(path, text, TOO_MANY))
    for index, condition in enumerate(conditions):
        name, expression = condition.get("name"), condition.get("expression", "")
        if name in names:
            problems.append(Problem(((path, index), "name"), duplicate(name), DUPLICATE))
        if name:
            names.add(name)
        if expression.strip():
            wrong = check_condition(expression)
            if wrong:
                complain(problems, ((path, index), "expression"), expression, [wrong])
