"""Replicas that tell how much they have to do: asked only where it matters, and believed for three seconds."""

import asyncio

from fronts import Target, answer, ask, chat, gateway, route, said, target

from tensorfusion.gateway.polling import poll
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State
from tensorfusion.gateway.upstreams import Upstream
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.route import Target as Asked


def metrics(waiting: int, full: float = 0.0) -> bytes:
    text = f"vllm:num_requests_waiting{{}} {waiting}\nvllm:kv_cache_usage_perc{{}} {full}\n"
    return answer(text.encode(), kind=b"text/plain")


def state_of(*targets: Target) -> State:
    def addresses(found: Route, asked: Asked) -> list[str]:
        return [each.url for each in targets]

    return State.make([route({"endpoint": "http://x.y"})], Secrets({}), addresses=addresses)


def upstream_of(state: State) -> Upstream:
    found = state.routes.by_key["default/r"]
    return state.upstreams.of(found, found.targets[0])


async def test_a_replica_with_much_to_do_gets_no_more_until_what_it_said_is_old() -> None:
    async with target(metrics(50)) as busy, target(metrics(0)) as idle:
        state = state_of(busy, idle)
        upstream = upstream_of(state)
        now = asyncio.get_running_loop().time()
        await poll(state)
        assert busy.requests == idle.requests == []  # nobody has used them
        assert {upstream.pick(now, prompt=9).url for _ in range(4)} == {busy.url, idle.url}
        await poll(state)
        assert [one.target for one in busy.requests] == ["/metrics"]
        now = asyncio.get_running_loop().time()
        assert {upstream.pick(now, prompt=9).url for _ in range(4)} == {idle.url}
        assert {upstream.pick(now + 3.5, prompt=9).url for _ in range(4)} == {busy.url, idle.url}
        await state.upstreams.close()


async def test_one_that_tells_nothing_stays_in_and_is_not_asked_again_soon() -> None:
    async with target(answer({}, status=404)) as dumb, target(metrics(1)) as other:
        state = state_of(dumb, other)
        upstream = upstream_of(state)
        now = asyncio.get_running_loop().time()
        upstream.pick(now)
        for _ in range(3):
            await poll(state)
        assert (len(dumb.requests), len(other.requests)) == (1, 3)
        assert upstream.pick(asyncio.get_running_loop().time(), prompt=9).url == dumb.url
        await state.upstreams.close()


async def test_a_single_replica_is_never_asked() -> None:
    async with target(said("a")) as one:
        async with gateway(route({"endpoint": one.url})) as found:
            assert (await ask(found.port, chat())).status == 200
            await poll(found.front.state)
        assert [each.target for each in one.requests] == ["/v1/chat/completions"]
