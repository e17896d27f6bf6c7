"""Two gateways that know of each other only what replicas tell once a second: no herd, and even shares."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from fronts import route

from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State
from tensorfusion.gateway.upstreams import Replica, Upstream
from tensorfusion.policy.routing.route import Route, Target

URLS = tuple(f"http://10.0.0.{number}:8000" for number in range(1, 5))
PLACES = 4
TICK = 0.01
A_TELL = 100
"""Ticks from one time that replicas tell to the next."""


@dataclass
class Running:
    """A request of a gateway, and how many ticks it still takes."""

    of: Replica
    tokens: int
    left: int


@dataclass
class Server:
    """A replica's own view: its first requests run, the others wait."""

    queue: list[Running] = field(default_factory=list)
    taken: int = 0

    def take(self, replica: Replica, tokens: int) -> None:
        replica.requests += 1
        replica.tokens += tokens
        self.queue.append(Running(replica, tokens, tokens // 4))
        self.taken += 1

    def work(self) -> None:
        for one in self.queue[:PLACES]:
            one.left -= 1
            if one.left == 0:
                self.queue.remove(one)
                one.of.requests -= 1
                one.of.tokens -= one.tokens


def upstream() -> Upstream:
    def addresses(found: Route, asked: Target) -> Sequence[str]:
        return URLS

    state = State.make([route({"gpuPool": "four"})], Secrets({}), addresses=addresses)
    found = state.routes.by_key["default/r"]
    return state.upstreams.of(found, found.targets[0])


@pytest.mark.parametrize(("first", "second"), [(1.3, 0.15), (0.8, 0.8)])
async def test_four_replicas_of_two_gateways_get_even_shares_however_the_load_is_shared(
    first: float, second: float
) -> None:
    gateways, servers, chance = (upstream(), upstream()), {url: Server() for url in URLS}, random.Random(7)
    longest = 0
    for tick in range(3000):
        now = tick * TICK
        for number, rate in enumerate((first, second)):
            for _ in range(int(rate) + (chance.random() < rate % 1)):
                tokens = chance.choice((8, 64))
                replica = gateways[number].pick(now, prompt=tokens)
                servers[replica.url].take(replica, tokens)
        for server in servers.values():
            server.work()
        for number, upstream_ in enumerate(gateways):
            if tick % A_TELL == number * A_TELL // 2:
                for replica in upstream_.replicas:
                    has = len(servers[replica.url].queue)
                    replica.tell(max(has - replica.requests, 0), 0.0, now)
        lengths = [len(server.queue) for server in servers.values()]
        longest = max(longest, max(lengths) - min(lengths))
    taken = [server.taken for server in servers.values()]
    assert max(taken) <= 1.25 * min(taken)
    assert longest <= 25  # 60 to 100 where each runs to whom told last that it has nothing to do
