"""What is kept of the certificates that webhooks were trusted by."""

import base64
import gc
import ssl
import weakref
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tensorfusion.embedded.access.certificates import Authority
from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.selectors import LabelTerms
from tensorfusion.embedded.store import Store
from tensorfusion.embedded.webhook_index import FailurePolicy, Hook, Match
from tensorfusion.embedded.webhooks import Webhooks

MOST = 128


def hook(bundle: bytes) -> Hook:
    """A webhook that nobody serves, so that asking it is over at once."""
    return Hook(
        name="h.example.com",
        configuration="c",
        rules=(),
        namespaces=LabelTerms(()),
        objects=LabelTerms(()),
        conditions=(),
        failure_policy=FailurePolicy.IGNORE,
        reinvoke=False,
        exact=False,
        timeout=5.0,
        url="https://127.0.0.1:1",
        server_name="",
        ca_bundle=base64.b64encode(bundle).decode(),
        service="",
    )


async def test_the_trust_of_old_certificates_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[ssl.SSLContext]] = []
    create = ssl.create_default_context

    def noted(*, cadata: str | None) -> ssl.SSLContext:
        context = create(cadata=cadata)
        made.append(weakref.ref(context))
        return context

    monkeypatch.setattr(ssl, "create_default_context", noted)
    pem = Authority.open(tmp_path / "ca", datetime.now(UTC)).pem()
    kinds = Kinds.builtin()
    kind = kinds.find("", "v1", "configmaps")
    async with Store.open(tmp_path / "store.db") as store:
        webhooks = Webhooks(store, kinds)
        for number in range(MOST + 20):
            asked = Asked(Operation.CREATE, kind, "default", "x", Call.system(), {"metadata": {"name": "x"}})
            await webhooks.validate(asked, [Match(hook(pem + b"\n" * number), kind)])
        gc.collect()
        assert len(made) == MOST + 20
        assert sum(ref() is not None for ref in made) <= MOST
        await webhooks.close()
