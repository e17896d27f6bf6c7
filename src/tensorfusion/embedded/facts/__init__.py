"""What a real kube-apiserver says about the built-in kinds, as data.

``kubernetes-1.34.json`` is written by ``tools/schema_facts.py``, ``roles-1.34.json`` by ``tools/role_facts.py``, and
neither is ever edited by hand. This module only reads it:
what the facts mean is decided in ``kinds`` and ``schema``.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

JsonObject = dict[str, Any]  # Any: it is JSON
FILE = "kubernetes-1.34.json"
ROLES_FILE = "roles-1.34.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """``definitions`` are OpenAPI schemas by full name, with ``default``s and our own ``checks`` added."""

    version: dict[str, str]
    resources: tuple[JsonObject, ...]
    definitions: dict[str, JsonObject]


@lru_cache(maxsize=1)
def load_facts() -> Facts:
    """The committed facts. Treat everything in them as read-only: they are shared."""
    raw = msgspec.json.decode(resources.files(__package__).joinpath(FILE).read_bytes())
    return Facts(raw["version"], tuple(raw["resources"]), raw["definitions"])


def load_roles() -> list[JsonObject]:
    """The roles and bindings that a cluster starts with, in the order in which they can be made. The caller's own."""
    found: list[JsonObject] = msgspec.json.decode(resources.files(__package__).joinpath(ROLES_FILE).read_bytes())
    return found
