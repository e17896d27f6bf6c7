"""What the guide of routes shows is read as it is, and does what the guide says of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tensorfusion.cli.gateway import command
from tensorfusion.model.crd import all_crds
from tensorfusion.model.llm_route import LLMRoute, OnExceeded
from tensorfusion.model.strict import convert
from tensorfusion.policy.routing.asks import Ask, Caller, Failure, Outcome
from tensorfusion.policy.routing.check import check
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.portkey.queries import Facts
from tensorfusion.policy.routing.portkey.reading import read_config
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.policy.routing.state import Attempts

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "llm-routes.md").read_text()
RED = Caller("team-red")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


DOCUMENTS: list[Any] = [document for block in blocks("yaml") for document in yaml.safe_load_all(block)]
ROUTES = Routes.compile([convert(document, LLMRoute, "guide") for document in DOCUMENTS])


def route(model: str) -> Route:
    found = ROUTES.match(RED, Ask(model))
    assert isinstance(found, Route)
    return found


def test_every_example_is_read_and_has_no_fault() -> None:
    assert ROUTES.problems == ()
    assert sorted(ROUTES.by_key) == [
        "team-red/assistant",
        "team-red/chat-ab",
        "team-red/cheap-first",
        "team-red/llama-ha",
    ]
    assert {str(one) for one in check(ROUTES)} == {
        "LLMRoute team-red/assistant: target stable: gets no requests any more once the rollout is complete",
        "LLMRoute team-red/llama-ha: target cloud: has no apiKeySecret, and azure asks for a key",
        "LLMRoute team-red/cheap-first: target fast: has no apiKeySecret, and azure asks for a key",
    }


def test_chat_is_shared_ninety_to_ten_and_a_session_stays() -> None:
    chooser = Chooser(route("chat"))
    names = [chooser.next(Ask("chat"), 0.0, Attempts(), random=0.0).name for _ in range(10_000)]  # type: ignore[union-attr]
    assert names.count("candidate") == 1000
    sticky = {chooser.next(Ask("chat", session="s"), 0.0, Attempts(), random=0.0).name for _ in range(50)}  # type: ignore[union-attr]
    assert len(sticky) == 1


def test_llama_goes_to_ones_own_gpus_and_fails_over_to_azure() -> None:
    chooser, ask, attempts = Chooser(route("llama-3-70b")), Ask("llama-3-70b"), Attempts()
    target = chooser.next(ask, 0.0, attempts, random=0.0)
    asked = []
    while target is not None and len(asked) < 5:
        asked.append(target.name)
        outcome = Outcome(Failure.STATUS, status=503)
        chooser.ended(chooser.started(target, 0.0), 0.0, outcome)
        step = chooser.after(ask, 0.0, attempts, target=target, outcome=outcome, wall=0.0, random=1.0)
        if step.target is target:
            assert step.delay == 0.2 * 2 ** (len(asked) - 1)
        target = step.target
        if target is not None and target.name == "cloud":
            break
    assert asked == ["local", "local", "local"]
    assert target is not None
    assert chooser.route.timers.first_byte == 10.0


def test_cheap_first_prices_and_limits() -> None:
    found = route("anything")
    assert found.budget is not None
    assert (found.budget.per_request, found.budget.daily, found.budget.on_exceeded) == (
        100_000,
        100_000_000,
        OnExceeded.FALLBACK_CHEAPER,
    )
    chooser = Chooser(found)
    fast, bulk = found.targets
    ask = Ask("anything", prompt_tokens=400, max_tokens=100)
    assert chooser.next(ask, 0.0, Attempts(), random=0.0) is bulk
    assert chooser.cheaper(ask, 0.0, fast) == (bulk,)
    assert chooser.estimate(ask, fast) == 400 * 2_500_000 + 100 * 10_000_000


def test_a_version_is_asked_for_by_name() -> None:
    assert route("assistant@v2").versions["assistant@v2"] == 0b10


@pytest.mark.parametrize(
    ("down", "asked"), [({}, ["eu"]), ({"eu": 503}, ["eu", "eu", "eu", "claude"]), ({"eu": 400}, ["eu"])]
)
def test_the_portkey_configuration_does_what_it_says(down: dict[str, int], asked: list[str]) -> None:
    (block,) = blocks("json")
    config = read_config(block, name="guide")
    chooser, ask, attempts, found = Chooser(config.route), Ask("m"), Attempts(config.walk(Facts())), []
    target = chooser.next(ask, 0.0, attempts, random=0.0)
    while target is not None:
        found.append(target.name)
        status = down.get(target.name)
        if status is None:
            break
        outcome = Outcome(Failure.STATUS, status=status)
        chooser.ended(chooser.started(target, 0.0), 0.0, outcome)
        target = chooser.after(ask, 0.0, attempts, target=target, outcome=outcome, wall=0.0, random=0.0).target
    assert found == asked


def test_the_check_says_what_the_guide_shows(tmp_path: Path) -> None:
    chat = next(document for document in DOCUMENTS if document["metadata"]["name"] == "chat-ab")
    late = {**chat, "metadata": {**chat["metadata"], "name": "late"}}
    file = tmp_path / "routes.yaml"
    file.write_text(yaml.safe_dump_all([chat, late]))
    done = CliRunner().invoke(command, ["check", "--config", str(file)])
    assert done.exit_code == 1
    assert done.output == blocks("text")[0]


def test_every_field_that_the_guide_names_exists() -> None:
    fields = {
        "users",
        "labelSelector",
        "modelPattern",
        "aliases",
        "namespaces",
        "apiKeySecret",
        "conditions",
        "maxConcurrency",
    }
    fields |= {
        "retryOnErrors",
        "maxRetries",
        "initialDelay",
        "backoffMultiplier",
        "maxDelay",
        "enableFallback",
        "rollout",
        "version",
    }
    crd = next(str(one) for one in all_crds() if one["spec"]["names"]["kind"] == "LLMRoute")
    for field in fields:
        assert f"`{field}" in GUIDE, field
        assert f"'{field}'" in crd, field
