"""The questions about access that clients ask by creating an object: it is answered, never stored.

Source: authentication.k8s.io/v1 and authorization.k8s.io/v1.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.access.rbac import Rbac
from tensorfusion.embedded.access.rules import Attributes, rule_json
from tensorfusion.embedded.access.tokens import AUDIENCES, TokenError, Tokens
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.objects import JsonObject, encode
from tensorfusion.embedded.statuses import invalid
from tensorfusion.errors import BadRequest, FieldCause, Invalid

_AUTHORIZATION = "authorization.k8s.io"
_AUTHENTICATION = "authentication.k8s.io"
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class Reviews:
    """Answers reviews. ``answers`` maps a resource id to what makes the answer of asker, review and namespace."""

    def __init__(self, rbac: Rbac, tokens: Tokens, *, clock: Clock) -> None:
        self._clock = clock
        self._rbac = rbac
        self._tokens = tokens
        self.answers: dict[str, Callable[[User, JsonObject, str], JsonObject]] = {
            f"selfsubjectaccessreviews.{_AUTHORIZATION}": self._self_access,
            f"subjectaccessreviews.{_AUTHORIZATION}": self._access,
            f"localsubjectaccessreviews.{_AUTHORIZATION}": self._local_access,
            f"selfsubjectrulesreviews.{_AUTHORIZATION}": self._self_rules,
            f"selfsubjectreviews.{_AUTHENTICATION}": self._self,
            f"tokenreviews.{_AUTHENTICATION}": self._token,
        }

    def _self_access(self, user: User, review: JsonObject, namespace: str) -> JsonObject:
        _check_spec(review, of_somebody=False)
        return _answered(_unnamed(review), self._verdict(user, review))

    def _access(self, user: User, review: JsonObject, namespace: str) -> JsonObject:
        return self._of_subject(_unnamed(review))

    def _local_access(self, user: User, review: JsonObject, namespace: str) -> JsonObject:
        spec = _spec(review)
        stated = (review.get("metadata") or {}).get("namespace") or namespace
        if stated != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        asked = spec.get("resourceAttributes")
        if asked is not None and asked.get("namespace") != namespace:
            found = f'Invalid value: "{asked.get("namespace") or ""}": must match metadata.namespace'
            raise _bad("spec.resourceAttributes.namespace", found)
        path = spec.get("nonResourceAttributes")
        if path is not None:
            shown = f'{{"Path":"{path.get("path") or ""}","Verb":"{path.get("verb") or ""}"}}'
            found = f"Invalid value: {shown}: disallowed on this kind of request"
            raise _bad("spec.nonResourceAttributes", found)
        return self._of_subject({**review, "metadata": {"namespace": namespace}})

    def _verdict(self, user: User, review: JsonObject) -> JsonObject:
        asked, ignored = _attributes(review), _ignored(review)
        unread = {"evaluationError": ignored} if ignored else {}
        if not self._rbac.allows(user, asked):
            return {"allowed": False, **unread}
        reason = self._rbac.reason(user, asked)
        return {"allowed": True, **({"reason": reason} if reason else {}), **unread}

    def _of_subject(self, review: JsonObject) -> JsonObject:
        _check_spec(review, of_somebody=True)
        spec = _spec(review)
        subject = User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "")
        return _answered(review, self._verdict(subject, review))

    def _self_rules(self, user: User, review: JsonObject, namespace: str) -> JsonObject:
        wanted = _spec(review).get("namespace") or ""
        if not wanted:
            raise BadRequest("no namespace on request")
        rules = list(dict.fromkeys(self._rbac.rules_of(user, wanted)))
        return _answered(
            {**review, "spec": {}},
            {
                "resourceRules": [rule_json(rule) for rule in rules if not rule.urls],
                "nonResourceRules": [rule_json(rule) for rule in rules if rule.urls],
                "incomplete": False,
            },
        )

    def _self(self, user: User, review: JsonObject, namespace: str) -> JsonObject:
        now = timestamp(self._clock.now())
        return _answered({**review, "metadata": {"creationTimestamp": now}}, {"userInfo": user_json(user)})

    def _token(self, user: User, review: JsonObject, namespace: str) -> JsonObject:
        spec = _spec(review)
        (review.get("metadata") or {}).pop("namespace", None)
        token = spec.get("token")
        if not isinstance(token, str) or not token:
            raise BadRequest("token is required for TokenReview in authentication")
        try:
            verified = self._tokens.verify(token, tuple(spec.get("audiences") or AUDIENCES[:1]))
        except TokenError as error:
            return _answered(review, {"user": {}, "error": str(error)})
        return _answered(
            review,
            {"authenticated": True, "user": user_json(verified.user), "audiences": list(verified.audiences)},
        )


def user_json(user: User) -> JsonObject:
    """authentication.k8s.io/v1 UserInfo."""
    shown: JsonObject = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown


def _answered(review: JsonObject, status: JsonObject) -> JsonObject:
    return {**review, "metadata": review.get("metadata") or {}, "status": status}


def _spec(review: JsonObject) -> JsonObject:
    found = review.get("spec")
    return found if isinstance(found, dict) else {}


def _unnamed(review: JsonObject) -> JsonObject:
    """A review of the whole cluster: it is in no namespace, and has no name or labels.

    Raises:
        Invalid: its metadata says something.
    """
    metadata = {field: value for field, value in (review.get("metadata") or {}).items() if value}
    for field in ("namespace", "managedFields", "creationTimestamp"):
        metadata.pop(field, None)
    if metadata:
        raise _bad("metadata", f"Invalid value: {encode(metadata).decode()}: must be empty")
    return {**review, "metadata": {}}


def _check_spec(review: JsonObject, *, of_somebody: bool) -> None:
    """Raises:
    Invalid: not exactly one thing is asked, or about nobody.
    """
    spec = _spec(review)
    of_resource, of_path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    causes: list[FieldCause] = []
    if of_resource is not None and of_path is not None:
        shown = f'{{"Path":"{of_path.get("path") or ""}","Verb":"{of_path.get("verb") or ""}"}}'
        why = f"Invalid value: {shown}: cannot be specified in combination with resourceAttributes"
        causes.append(FieldCause("spec.nonResourceAttributes", why))
    elif of_resource is None and of_path is None:
        why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(FieldCause("spec.resourceAttributes", why))
    if of_somebody and not spec.get("user") and not spec.get("groups"):
        why = 'Invalid value: "": at least one of user or group must be specified'
        causes.append(FieldCause("spec.user", why))
    for name in ("fieldSelector", "labelSelector"):
        selector = (of_resource or {}).get(name) or {}
        if selector.get("rawSelector") and selector.get("requirements"):
            text = encode(selector["rawSelector"]).decode()
            why = f"Invalid value: {text}: may not specified at the same time as requirements"
            causes.append(FieldCause(f"spec.resourceAttributes.{name}.rawSelector", why))
    if causes:
        raise invalid("", _AUTHORIZATION, "", causes=causes)


def _ignored(review: JsonObject) -> str:
    """What is said of selectors with operators that there are not: they count for nothing."""
    found = _spec(review).get("resourceAttributes") or {}
    names = [
        name
        for name in ("fieldSelector", "labelSelector")
        for one in (found.get(name) or {}).get("requirements") or ()
        if one.get("operator") not in _OPERATORS
    ]
    return ", ".join(f"spec.resourceAttributes.{name} ignored due to parse error" for name in dict.fromkeys(names))


def _attributes(review: JsonObject) -> Attributes:
    spec = _spec(review)
    of_resource, of_path = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes")
    if of_path is not None:
        return Attributes(of_path.get("verb") or "", path=of_path.get("path") or "/")
    return Attributes(
        *(of_resource.get(field) or "" for field in ("verb", "group", "resource", "subresource", "name", "namespace"))
    )


def _bad(field: str, message: str) -> Invalid:
    return invalid("", _AUTHORIZATION, "", causes=(FieldCause(field, message),))
