"""Writing the status of an object as the smallest difference from what the cache shows."""

from tensorfusion.errors import Invalid, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Meta, Raw
from tensorfusion.model.resources import Resource
from tensorfusion.model.wire import merge_patch


async def write_status(
    client: Api, resource: Resource, meta: Meta, *, old: Raw, new: Raw, guarded: bool = False
) -> bool:
    """Patch the status if it differs; whether the object says now what it should.

    ``guarded`` writes only on top of the version that the decision was made on.

    Raises:
        Conflict: guarded, and the object has changed.
    """
    difference = merge_patch(old, new)
    if not difference:
        return True
    guard: Raw = {"uid": meta.uid}
    if guarded:
        guard["resourceVersion"] = meta.resource_version
    patch = {"metadata": guard, "status": difference}
    try:
        await client.patch(resource, meta.name, patch, namespace=meta.namespace, subresource="status")
    except NotFound:
        return False
    except Invalid as error:
        if "metadata.uid" in str(error):  # another one by the same name
            return False
        raise
    return True
