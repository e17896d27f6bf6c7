"""Credentials of targets: looked up by reference, and written out nowhere.

A value leaves only as the bytes of a field for a target. What is printed, logged or compared of it is its reference.
"""

from collections.abc import Mapping

from tensorfusion.model.common import SecretReference

Reference = tuple[str, str, str]
"""Namespace, name and key."""


class Secrets:
    """All credentials that routes may refer to. Immutable."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[Reference, str]) -> None:
        self._values = dict(values)

    def get(self, reference: SecretReference) -> str | None:
        """The credential; None where there is none."""
        return self._values.get((reference.namespace, reference.name, reference.key))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)} hidden)"


def spelled(reference: SecretReference) -> str:
    """As messages name it."""
    return f"Secret {reference.namespace}/{reference.name} key {reference.key}"
