"""Whether a pod is to get its devices through Dynamic Resource Allocation.

Source: the user's guide to DRA and the contract's order: the pod's annotation, then its pool's ``draConfig``, then the
template of the pool, then off.
"""

from collections.abc import Mapping

from tensorfusion.model import keys
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.template import SchedulingConfigTemplate

_STATED = {"true": True, "false": False}


def dra_enabled(
    annotations: Mapping[str, str], pool: GPUPool | None, template: SchedulingConfigTemplate | None
) -> bool:
    """The first of pod, pool and template that says anything decides; ``template`` is the pool's."""
    config = pool.spec.dra_config if pool is not None else None
    dra = template.spec.dra if template is not None else None
    for stated in (
        _STATED.get(annotations.get(keys.DRA_ENABLED, "")),
        config.enable if config is not None else None,
        dra.enable if dra is not None else None,
    ):
        if stated is not None:
            return stated
    return False
