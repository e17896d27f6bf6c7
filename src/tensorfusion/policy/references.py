"""What a pod's wishes refer to, found in a snapshot: its profile, and its pool, which its namespace has to be allowed.

Source: TensorFusion's admission contract. Ours: a pool that is missing is the user's mistake and named as such, and a
namespace that is not known opens no pool.
"""

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.annotations import PodWishes
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.workload import WorkloadProfile
from tensorfusion.policy.allowed_pools import AllowedPools, allowed_pools
from tensorfusion.policy.verdict import Missing, NotAllowed, Snapshot, Unknown


def profile_of(wishes: PodWishes, namespace: str, snapshot: Snapshot) -> WorkloadProfile | None:
    """The profile that the wishes name; None where they name none.

    Raises:
        Unknown: it is not there.
    """
    name = wishes.workload_profile
    if name is None:
        return None
    profile = snapshot.profile(namespace, name)
    if profile is None:
        raise Unknown(
            f"annotation {keys.WORKLOAD_PROFILE}: wanted a WorkloadProfile of namespace {namespace}, found {name!r}, "
            "which does not exist",
            Missing(r.WORKLOAD_PROFILES, namespace, name),
        )
    return profile


def pool_of(wishes: PodWishes, profile: WorkloadProfile | None, namespace: str, snapshot: Snapshot) -> GPUPool:
    """The pool that the wishes name, or else the profile, or that a pod of the namespace gets that names none.

    Raises:
        Unknown: it is not there, or there is none to take.
        NotAllowed: the namespace may not use it.
    """
    allowed = _allowed_pools(namespace, snapshot)
    name, source = wishes.pool or "", f"annotation {keys.GPU_POOL}"
    if not name and profile is not None:
        name, source = profile.spec.pool_name, f"WorkloadProfile {profile.key}: poolName"
    if name and not allowed.allows(name):
        raise NotAllowed(allowed.refusal(source, repr(name)))
    if not name and allowed.names is not None:
        name, source = _pool_of_namespace(allowed, snapshot), f"namespace {allowed.namespace}: {keys.ALLOWED_POOLS}"
    if name:
        pool = snapshot.pool(name)
        if pool is None:
            raise Unknown(
                f"{source}: wanted an existing GPUPool, found {name!r}: gpu pool({name}) does not exist",
                Missing(r.GPU_POOLS, "", name),
            )
        return pool
    pool = snapshot.default_pool()
    if pool is None:
        raise Unknown(
            f"annotation {keys.GPU_POOL}: wanted the name of a GPUPool, found none, and gpu pool not found that is "
            f"annotated {keys.IS_DEFAULT_POOL}: name one of `kubectl get gpupools`",
            Missing(r.GPU_POOLS, "", ""),
        )
    return pool


def _allowed_pools(namespace: str, snapshot: Snapshot) -> AllowedPools:
    found = snapshot.namespace(namespace)
    if found is None:  # no cache may open what a namespace's annotation closes
        raise Unknown(f"namespace {namespace}: is not known", Missing(r.NAMESPACES, "", namespace))
    return allowed_pools(found)


def _pool_of_namespace(allowed: AllowedPools, snapshot: Snapshot) -> str:
    """The pool of a pod that names none, in a namespace that may use some pools only."""
    default = snapshot.default_pool()
    if default is not None and allowed.allows(default.metadata.name):
        return default.metadata.name
    name = allowed.only()
    if name is None:
        raise NotAllowed(allowed.refusal(f"annotation {keys.GPU_POOL}", "none"))
    return name
