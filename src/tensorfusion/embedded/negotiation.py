"""Which representation a client gets: JSON or YAML, the object itself, a Table, or its metadata only.

Source: Kubernetes API concepts, "Alternate representations of resources", "Receiving resources as Tables".
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from tensorfusion.errors import ApiError

JSON = "application/json"
YAML = "application/yaml"
_META = "meta.k8s.io"
_MANAGED = "managedfields"
"""A parameter of our own: ``application/json;managedFields=omit``. Other servers ignore it."""


class Form(StrEnum):
    """Wire values of the ``as`` parameter of an Accept header; OBJECT is its absence."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class Representation:
    """``managed`` is false for clients that do not want to see managed fields; our own ones say so."""

    media_type: str = JSON
    form: Form = Form.OBJECT
    managed: bool = True

    @property
    def partial(self) -> bool:
        return self.form in (Form.PARTIAL, Form.PARTIAL_LIST)


PLAIN = Representation()


class NotAcceptable(ApiError):
    """No representation that the client accepts is served."""

    code, reason = 406, "NotAcceptable"


@lru_cache(maxsize=512)
def negotiate(accept: str) -> Representation:
    """The first served representation in the client's order of preference.

    Raises:
        NotAcceptable: none is.
    """
    for media_type, parameters in clauses(accept):
        if media_type in ("*/*", "application/*", JSON):
            media_type = JSON  # noqa: PLW2901  # a wildcard means JSON
        elif media_type not in (YAML, "application/x-yaml", "text/yaml"):
            continue
        else:
            media_type = YAML  # noqa: PLW2901  # one of YAML's names
        form, managed = parameters.get("as", ""), parameters.get(_MANAGED) != "omit"
        if not form:
            return Representation(media_type, managed=managed)
        if form in set(Form) and parameters.get("g", _META) == _META and parameters.get("v", "v1") == "v1":
            return Representation(media_type, Form(form), managed)
    raise NotAcceptable(f"406: Not Acceptable: available representations: {JSON}, {YAML}")


@lru_cache(maxsize=512)
def clauses(accept: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Media types of an Accept header with their parameters, best first."""
    found = []
    for order, clause in enumerate((accept or "*/*").split(",")):
        media_type, *rest = clause.split(";")
        parameters = {}
        for part in rest:
            name, _, value = part.partition("=")
            parameters[name.strip().lower()] = value.strip().strip('"')
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if media_type.strip() and quality > 0:
            found.append((-quality, order, media_type.strip().lower(), parameters))
    return tuple((media_type, parameters) for _, _, media_type, parameters in sorted(found, key=lambda item: item[:2]))
