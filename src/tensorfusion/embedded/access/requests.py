"""``serviceaccounts/token``: a token for a ServiceAccount, bound to a pod, secret or node if that is asked for.

Source: authentication.k8s.io/v1 TokenRequest.
"""

from datetime import timedelta

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.access.tokens import AUDIENCES, AccountTokens
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.statuses import conflict, invalid, not_found
from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.errors import BadRequest, FieldCause
from tensorfusion.model.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

_DEFAULT_SECONDS = 3600
_SHORTEST = 600
_LONGEST = 1 << 32
_KINDS = {"Pod": PODS, "Secret": SECRETS, "Node": NODES}


def request_token(
    store: Store, tokens: AccountTokens, namespace: str, name: str, request: JsonObject, *, clock: Clock
) -> JsonObject:
    """The TokenRequest with its token.

    Raises:
        NotFound: no such account or bound object.
        Conflict: the bound object has another uid than stated.
        Invalid, BadRequest: the lifetime or the bound kind is not one that is given.
    """
    account = store.get(ObjectKey(SERVICE_ACCOUNTS.id, namespace, name))
    if account is None:
        raise not_found(SERVICE_ACCOUNTS, name)
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        seconds = _DEFAULT_SECONDS
    if not _SHORTEST <= seconds <= _LONGEST:
        why = "less than 10 minutes" if seconds < _SHORTEST else "larger than 2^32 seconds"
        cause = FieldCause("spec.expirationSeconds", f"Invalid value: {seconds}: may not specify a duration {why}")
        raise invalid("TokenRequest", "authentication.k8s.io", "", causes=(cause,))
    audiences = spec.get("audiences") or [AUDIENCES[0]]
    bound = _bound(store, namespace, spec.get("boundObjectRef"))
    token = tokens.sign(namespace, name, account.uid, seconds=seconds, audiences=tuple(audiences), bound=bound)
    metadata = decode_object(account.data)["metadata"]
    shown = {field: metadata[field] for field in ("name", "namespace", "uid", "creationTimestamp") if field in metadata}
    expires = timestamp(clock.now() + timedelta(seconds=seconds))
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": shown,
        "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": expires},
    }


def _bound(store: Store, namespace: str, reference: JsonObject | None) -> JsonObject:
    if not reference:
        return {}
    resource = _KINDS.get(reference.get("kind") or "")
    if resource is None:
        raise BadRequest(f"spec.boundObjectRef.kind: wanted {', '.join(_KINDS)}, found {reference.get('kind')!r}")
    name, uid = reference.get("name") or "", reference.get("uid")
    found = store.get(ObjectKey(resource.id, namespace if resource.namespaced else "", name))
    if found is None:
        raise not_found(resource, name)
    if uid and uid != found.uid:
        why = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise conflict(resource, name, why)
    return {resource.kind.lower(): {"name": name, "uid": found.uid}}
