"""The list of behaviours: a number, one sentence, where it is said, and the function that tries it.

``python tests/contract/behaviours.py`` prints the list.
"""

import importlib.util
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).parent
AREAS = {
    1: "objects and errors",
    2: "lists and watches",
    3: "patches, apply, managed fields, dry run, field validation",
    4: "custom resource definitions: schemas, CEL, versions",
    5: "tables, discovery, OpenAPI, content types, compression, limits",
    6: "admission, bindings, evictions, namespaces",
    7: "RBAC, reviews, impersonation, tokens, leases, events",
    8: "kubectl",
    9: "kinds: what some do and others do not",
    10: "bodies and patches that are not what they should be",
}
"""Who has which hundred: 1 is 100 to 199."""
GIVENS = frozenset({"api", "kubectl"})
"""What a behaviour may ask for, by the names of its parameters."""

Function = TypeVar("Function", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One behaviour of a Kubernetes API server."""

    number: int
    statement: str
    source: str
    run: Callable[..., None]

    @property
    def file(self) -> Path:
        return Path(self.run.__code__.co_filename)

    @property
    def wants(self) -> frozenset[str]:
        """The parameters that it has to be given."""
        return frozenset(inspect.signature(self.run).parameters)

    def try_on(self, givens: Mapping[str, Any]) -> None:
        """Run it outside of pytest.

        Raises:
            AssertionError and any other: the server behaves in another way.
        """
        self.run(**{name: givens[name] for name in self.wants})


BEHAVIOURS: dict[int, Behaviour] = {}


def behaviour(number: int, statement: str, *, source: str) -> Callable[[Function], Function]:
    """Mark a test as the one of a behaviour.

    ``source`` says where Kubernetes says so: a page and section of its reference, a KEP, or what was observed on which
    version.

    Raises:
        ValueError: the number is another behaviour's.
    """

    def register(function: Function) -> Function:
        found = Behaviour(number, statement, source, function)
        known = BEHAVIOURS.get(number)
        if known is not None and (known.file, known.run.__name__) != (found.file, function.__name__):
            raise ValueError(
                f"behaviour {number} is {known.run.__name__} in {known.file.name} and {function.__name__} in "
                f"{found.file.name}: give one of them another number"
            )
        BEHAVIOURS[number] = found
        return function

    return register


def every_behaviour() -> dict[int, Behaviour]:
    """All behaviours of this folder, whichever of its files have been imported so far."""
    known = {found.file for found in BEHAVIOURS.values()}
    for file in area_files():
        if file not in known:
            spec = importlib.util.spec_from_file_location(f"contract_area_{file.stem}", file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
    return dict(sorted(BEHAVIOURS.items()))


def area_files() -> Iterator[Path]:
    """The files that hold behaviours: ``test_1_deletion.py`` has numbers from 100 to 199."""
    yield from sorted(HERE.glob("test_[0-9]*_*.py"))


def counts() -> dict[str, int]:
    """How many behaviours there are in each area."""
    found = Counter(number // 100 for number in every_behaviour())
    return {f"{area}xx {AREAS[area]}": found[area] for area in sorted(AREAS)}


if __name__ == "__main__":
    from behaviours import counts as of_areas
    from behaviours import every_behaviour as listed

    for number, found in listed().items():
        print(f"{number}  {found.statement}  [{found.source}]")
    for area, count in of_areas().items():
        print(f"{count:4}  {area}")
    print(f"{len(listed()):4}  in all")
