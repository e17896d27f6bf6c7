"""What the doctor says of schedulers that share the pools."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tensorfusion.cli import cluster_checks
from tensorfusion.cli.findings import Finding, Level
from tensorfusion.clock import micro_timestamp
from tensorfusion.kube.client import Client
from tensorfusion.model import keys
from tensorfusion.model.resources import GPU_POOLS, LEASES
from tensorfusion.policy.shards import COMMON, shard_lease
from tensorfusion.testing.api import FakeApi


def lease(api: FakeApi, name: str, holder: str, *, shard: str | None = None, age: float = 1.0) -> None:
    renewed = micro_timestamp(datetime.now(UTC) - timedelta(seconds=age))
    metadata: dict[str, Any] = {"name": name, "labels": {keys.COMPONENT: keys.SHARD_COMPONENT}}
    if shard is not None:
        metadata["annotations"] = {keys.SCHEDULER_SHARD: shard}
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}
    api.seed(LEASES, {"metadata": metadata, "spec": spec}, namespace=keys.SYSTEM_NAMESPACE)


async def findings(api: FakeApi) -> dict[str, Finding]:
    found = cluster_checks._leader(cast("Client", api))
    return {finding.subject: finding async for finding in found}


async def test_a_pool_on_which_nobody_places_is_told() -> None:
    api = FakeApi()
    lease(api, keys.LEADER_LEASE, keys.SHARDED_HOLDER)
    for pool, holder, age in (("a", "one", 1.0), ("b", "two", 40.0), ("c", "", 1.0)):
        api.seed(GPU_POOLS, {"metadata": {"name": pool}})
        lease(api, shard_lease(pool), holder, shard=pool, age=age)
    told = (await findings(api))["schedulers by pool"]
    assert (told.level, told.found) == (Level.WARN, "nobody places on b, c, what belongs to no pool")


async def test_schedulers_that_have_every_pool_are_counted_and_one_for_everything_is_not_asked() -> None:
    api = FakeApi()
    lease(api, keys.LEADER_LEASE, keys.SHARDED_HOLDER)
    for pool, holder in (("a", "one"), ("b", "two")):
        api.seed(GPU_POOLS, {"metadata": {"name": pool}})
        lease(api, shard_lease(pool), holder, shard=pool)
    lease(api, shard_lease(COMMON), "one", shard=COMMON)
    told = (await findings(api))["schedulers by pool"]
    assert (told.level, told.found) == (Level.OK, "2 schedulers share 2 pools")
    single = FakeApi()
    lease(single, keys.LEADER_LEASE, "one")
    assert "schedulers by pool" not in await findings(single)
