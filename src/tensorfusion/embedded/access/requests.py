"""``serviceaccounts/token``: a token for a ServiceAccount, bound to a pod, secret or node if that is asked for.

Source: authentication.k8s.io/v1 TokenRequest.
"""

from datetime import timedelta

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.access.tokens import AUDIENCES, AccountTokens
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.statuses import invalid, not_found
from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.errors import BadRequest, Conflict, FieldCause
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
    _check_metadata(request, namespace, name)
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        seconds = _DEFAULT_SECONDS
    if not _SHORTEST <= seconds <= _LONGEST:
        why = "less than 10 minutes" if seconds < _SHORTEST else "larger than 2^32 seconds"
        cause = FieldCause("spec.expirationSeconds", f"Invalid value: {seconds}: may not specify a duration {why}")
        raise invalid("TokenRequest", "authentication.k8s.io", "", causes=(cause,))
    audiences = spec.get("audiences") or [AUDIENCES[0]]
    bound = _bound(store, namespace, name, spec.get("boundObjectRef"))
    token = tokens.sign(namespace, name, account.uid, seconds=seconds, audiences=tuple(audiences), bound=bound)
    metadata = decode_object(account.data)["metadata"]
    shown = {field: metadata[field] for field in ("name", "namespace", "uid", "creationTimestamp") if field in metadata}
    expires = timestamp(clock.now() + timedelta(seconds=seconds))
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": shown,
        "spec": {"boundObjectRef": None, **spec, "audiences": audiences, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": expires},
    }


def _check_metadata(request: JsonObject, namespace: str, name: str) -> None:
    metadata = request.get("metadata") or {}
    if metadata.get("namespace") and metadata["namespace"] != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    stated = metadata.get("name")
    if stated and stated != name:
        why = f'Invalid value: "{stated}": must match the service account name if specified'
        raise invalid("TokenRequest", "authentication.k8s.io", name, causes=(FieldCause("metadata.name", why),))


def _bound(store: Store, namespace: str, account: str, reference: JsonObject | None) -> JsonObject:
    """What a token says of the object that it is bound to; of a pod also the node."""
    if reference is None:
        return {}
    stated = reference.get("kind") or ""
    resource = _KINDS.get(stated)
    if resource is None:
        group, _, version = (reference.get("apiVersion") or "").rpartition("/")
        raise BadRequest(f"cannot bind token to object of type {group}/{version}, Kind={stated}")
    name, uid = reference.get("name") or "", reference.get("uid")
    found = store.get(ObjectKey(resource.id, namespace if resource.namespaced else "", name))
    if found is None:
        raise not_found(resource, name)
    if uid and uid != found.uid:
        why = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        message = f'Operation cannot be fulfilled on {stated} "{name}": {why}'
        raise Conflict(message, kind=stated, name=name)
    bound = {resource.kind.lower(): {"name": name, "uid": found.uid}}
    if resource.id != PODS.id:
        return bound
    spec = decode_object(found.data)["spec"]
    if spec.get("serviceAccountName") != account:
        raise BadRequest(
            f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
        )
    node = spec.get("nodeName")
    if node:
        there = store.get(ObjectKey(NODES.id, "", node))
        bound["node"] = {"name": node, **({"uid": there.uid} if there is not None else {})}
    return bound
