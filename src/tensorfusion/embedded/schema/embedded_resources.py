"""Objects inside of custom objects (``x-kubernetes-embedded-resource``): what they say they are, and their metadata.

Source: apiextensions-apiserver pkg/apiserver/schema/objectmeta/validation.go.
"""

from tensorfusion.embedded.schema.metadata import check_metadata
from tensorfusion.embedded.schema.names import label, label_1035
from tensorfusion.embedded.schema.path import Path, Problem, path_of, steps_of
from tensorfusion.embedded.schema.words import complain
from tensorfusion.model.meta import Raw

_UNNAMED = "unnamed"


def check_embedded(obj: Raw, path: Path, problems: list[Problem]) -> None:
    """Kind, version and metadata, where these are of the right types: that they are there is looked at elsewhere."""
    version, kind, metadata = (obj.get(field) for field in ("apiVersion", "kind", "metadata"))
    if isinstance(version, str):
        wrong = [] if version else ["must not be empty"]
        wrong += [f"unexpected GroupVersion string: {version}"] if version.count("/") > 1 else []
        complain(problems, (path, "apiVersion"), version, wrong)
    if kind == "":
        complain(problems, (path, "kind"), kind, ["must not be empty"])
    elif isinstance(kind, str):
        mixed = [f"may have mixed case, but should otherwise match: {text}" for text in label_1035(kind.lower())]
        complain(problems, (path, "kind"), kind, mixed)
    if isinstance(metadata, dict):
        _check_metadata(metadata, path, problems)


def _check_metadata(metadata: Raw, path: Path, problems: list[Problem]) -> None:
    namespace = metadata.get("namespace")
    if namespace:
        complain(problems, ((path, "metadata"), "namespace"), namespace, label(namespace))
    found: list[Problem] = []
    named = {**metadata, "name": metadata.get("name") or _UNNAMED}
    check_metadata(named, _segment, namespaced=bool(namespace), problems=found, any_finalizer=True)
    above = steps_of(path)
    problems.extend(
        Problem(path_of([*above, *steps_of(problem.path)]), problem.message, problem.reason) for problem in found
    )


def _segment(name: str) -> tuple[str, ...]:
    """A part of a URL's path."""
    if name in (".", ".."):
        return (f"may not be '{name}'",)
    return tuple(f"may not contain '{letter}'" for letter in "/%" if letter in name)
