"""What decisions are made of and what is kept of them, on a store without a server."""

import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tensorfusion.embedded.access.rbac import Rbac
from tensorfusion.embedded.access.rules import Attributes
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.store import ObjectKey, Record, Store
from tensorfusion.model.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES

EVE = User("eve")
LONG = 2_000


class Text(str):
    """What a client wrote; the last of its kind can be seen to go."""


async def put(store: Store, resource: str, **obj: Any) -> None:
    key = ObjectKey(resource, "", "r")
    await store.put(
        key, expected=0, make=lambda revision: Record(key, revision, "u", msgspec.json.encode(obj), {}, {}, ())
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "store.db") as opened:
        rules = [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["*"]},
            {"verbs": ["delete"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["mine"]},
        ]
        await put(opened, CLUSTER_ROLES.id, rules=rules)
        subjects = [{"kind": "User", "name": "eve"}]
        await put(opened, CLUSTER_ROLE_BINDINGS.id, roleRef={"kind": "ClusterRole", "name": "r"}, subjects=subjects)
        yield opened


def test_what_a_client_asks_at_length_is_not_kept(store: Store) -> None:
    rbac = Rbac(store)
    for verb in ("get", "delete", "create"):
        text = Text("x" * LONG)
        gone = weakref.ref(text)
        rbac.allows(EVE, Attributes(verb, resource=text))
        del text
        assert gone() is None


@pytest.mark.parametrize("resource", ["pods", "x" * LONG])
def test_a_decision_is_the_same_however_long_the_question(store: Store, resource: str) -> None:
    rbac = Rbac(store)
    for _ in range(2):
        assert rbac.allows(EVE, Attributes("get", resource=resource))
        assert rbac.allows(EVE, Attributes("delete", resource=resource, name="mine"))
        assert not rbac.allows(EVE, Attributes("delete", resource=resource, name="other"))
        assert not rbac.allows(EVE, Attributes("create", resource=resource))
