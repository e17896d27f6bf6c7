"""Impersonation and the tokens of service accounts. Numbers 745 to 767."""

import base64
import json
from typing import Any

from access import (
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    IDENTITY,
    Json,
    binding,
    role,
    rule,
    self_of,
    somebody,
)
from asking import Api
from behaviours import behaviour

IMPERSONATION = "Reference: Authenticating, user impersonation"
REQUEST = "API reference: TokenRequest"
BOUND = "Reference: Managing service accounts, bound tokens"
OBSERVED = "observed on 1.34.2"
AUTHENTICATION = "authentication.k8s.io"
API_SERVER = "https://kubernetes.default.svc"
LOOKS = 8


def taken_for(api: Api, **headers: str) -> Json:
    info: Json = self_of(api.as_user(**headers)).body["status"]["userInfo"]
    return info


def claims(token: str) -> Json:
    part = token.split(".")[1]
    found: Json = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def account(api: Api, name: str = "robot") -> None:
    api.create(api.core("serviceaccounts"), {"metadata": {"name": name}})


def request(api: Api, name: str = "robot", **spec: Any) -> Json:
    made: Json = api.create(api.core("serviceaccounts", name, "token"), {"spec": spec})
    return made


def token_of(api: Api, name: str = "robot", **spec: Any) -> str:
    return str(request(api, name, **spec)["status"]["token"])


def review(api: Api, token: str, *audiences: str) -> Json:
    spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
    status: Json = api.create(f"{IDENTITY}/tokenreviews", {"spec": spec})["status"]
    return status


def soon_ended(api: Api, tokens: list[str]) -> str:
    """The first of ``tokens`` that is refused, each looked at once.

    A real server sees through a watch of its own that what a token depends on is gone, so a moment late, and remembers
    for ten seconds whom it let in: a token looked at too early tells nothing until then.
    """
    left = iter(tokens)
    last = ""

    def refused() -> bool:
        nonlocal last
        last = next(left, last)
        return review(api, last).get("authenticated") is not True

    api.eventually(refused)
    return last


def impersonator(api: Api, **headers: str) -> Api:
    """A service account that acts as somebody else."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Api(api.address, api.patience, api.token, sent, api.namespace)


# --- impersonation ---


@behaviour(745, "Who impersonates a user is that user, and known", source=IMPERSONATION)
def test_impersonated_user(api: Api) -> None:
    assert taken_for(api, Impersonate_User="jane") == {"username": "jane", "groups": ["system:authenticated"]}
    devs = taken_for(api, Impersonate_User="jane", Impersonate_Group="devs")
    assert devs["groups"] == ["devs", "system:authenticated"]


@behaviour(746, "Uid and extras are taken on too; their keys may be escaped", source=IMPERSONATION)
def test_impersonated_extras(api: Api) -> None:
    headers = {"Impersonate_User": "jane", "Impersonate_Uid": "u-1", "Impersonate_Extra_example.com%2fscopes": "view"}
    info = taken_for(api, **headers)
    assert (info["uid"], info["extra"]) == ("u-1", {"example.com/scopes": ["view"]})


@behaviour(747, "An impersonated service account has its groups, unless others are named", source=IMPERSONATION)
def test_impersonated_account(api: Api) -> None:
    name = f"system:serviceaccount:{api.namespace}:robot"
    own = ["system:serviceaccounts", f"system:serviceaccounts:{api.namespace}", "system:authenticated"]
    assert taken_for(api, Impersonate_User=name)["groups"] == own
    named = taken_for(api, Impersonate_User=name, Impersonate_Group="devs")
    assert named["groups"] == ["devs", "system:authenticated"]


@behaviour(748, "Who impersonates nobody in particular is not known", source=OBSERVED)
def test_impersonated_anonymous(api: Api) -> None:
    anonymous = api.as_user(Impersonate_User="system:anonymous")
    self_of(anonymous).refused(403, "Forbidden")
    assert anonymous("GET", "/version").status == 200
    unknown = api.as_user(Impersonate_User="jane", Impersonate_Group="system:unauthenticated")
    self_of(unknown).refused(403, "Forbidden")


@behaviour(749, "Groups without a user cannot be impersonated", source=IMPERSONATION)
def test_groups_without_a_user(api: Api) -> None:
    for headers in ({"Impersonate_Group": "devs"}, {"Impersonate_Uid": "u-1"}, {"Impersonate_Extra_a": "b"}):
        assert self_of(api.as_user(**headers)).status in (400, 500)


@behaviour(750, "Impersonation needs the right to, said for the real user", source=IMPERSONATION)
def test_impersonation_needs_a_right(api: Api) -> None:
    account(api)
    robot = api.as_user(token_of(api))
    name = f"system:serviceaccount:{api.namespace}:robot"
    answer = self_of(impersonator(robot, Impersonate_User="jane")).refused(403, "Forbidden")
    assert f'User "{name}" cannot impersonate' in answer.body["message"]  # newer versions go on in other words


@behaviour(751, "Users, groups, uids, extras and accounts are rights of their own, and by name", source=IMPERSONATION)
def test_rights_to_impersonate(api: Api) -> None:
    account(api)
    robot, name = api.as_user(token_of(api)), api.other_name()
    rules = (
        rule("impersonate", "users", "", "jane"),
        rule("impersonate", "groups", "", "devs"),
        rule("impersonate", "serviceaccounts", "", "default"),
        rule("impersonate", "userextras/scopes", AUTHENTICATION, "view"),
        rule("impersonate", "uids", AUTHENTICATION, "u-1"),
    )
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace}
    of = binding(name, name, subject, kind="ClusterRole")
    jane = {"Impersonate_User": "jane"}
    accounts = f"system:serviceaccount:{api.namespace}"
    with api.made(CLUSTER_ROLES, role(name, *rules)), api.made(CLUSTER_BINDINGS, of):
        api.eventually(lambda: self_of(impersonator(robot, **jane)).status == 201)
        all_of_it = {**jane, "Impersonate_Group": "devs", "Impersonate_Uid": "u-1", "Impersonate_Extra_scopes": "view"}
        for allowed in (all_of_it, {"Impersonate_User": f"{accounts}:default"}):
            assert self_of(impersonator(robot, **allowed)).status == 201
        for refused, kind in (
            ({"Impersonate_User": "joe"}, "users"),
            ({**jane, "Impersonate_Group": "ops"}, "groups"),
            ({**jane, "Impersonate_Uid": "u-2"}, "uids"),
            ({**jane, "Impersonate_Extra_scopes": "edit"}, "userextras"),
            ({"Impersonate_User": f"{accounts}:robot"}, "serviceaccounts"),
        ):
            self_of(impersonator(robot, **refused)).refused(403, "Forbidden", kind=kind)


# --- tokens ---


@behaviour(755, "A token request answers with a token for the API server and its hour of end", source=REQUEST)
def test_token_request(api: Api) -> None:
    account(api)
    made = request(api)
    assert (made["kind"], made["metadata"]["name"]) == ("TokenRequest", "robot")
    assert (made["spec"]["audiences"], made["spec"]["expirationSeconds"]) == ([API_SERVER], 3600)
    assert made["status"]["expirationTimestamp"]
    said = claims(made["status"]["token"])
    assert (said["iss"], said["aud"], said["exp"] - said["iat"]) == (API_SERVER, [API_SERVER], 3600)
    assert said["sub"] == f"system:serviceaccount:{api.namespace}:robot"
    assert said["kubernetes.io"].keys() == {"namespace", "serviceaccount"}
    assert said["jti"]


@behaviour(756, "With its token one is the account, with its groups", source=BOUND)
def test_use_of_a_token(api: Api) -> None:
    account(api)
    info = self_of(api.as_user(token_of(api))).body["status"]["userInfo"]
    assert info["username"] == f"system:serviceaccount:{api.namespace}:robot"
    own = ["system:serviceaccounts", f"system:serviceaccounts:{api.namespace}", "system:authenticated"]
    assert info["groups"] == own
    assert info["uid"] == api.get(api.core("serviceaccounts", "robot"))["metadata"]["uid"]
    assert list(info["extra"]) == ["authentication.kubernetes.io/credential-id"]


@behaviour(757, "A token for other audiences does not open the API", source=REQUEST)
def test_audiences(api: Api) -> None:
    account(api)
    token = token_of(api, audiences=["a", "b"])
    assert claims(token)["aud"] == ["a", "b"]
    self_of(api.as_user(token)).refused(401, "Unauthorized")


@behaviour(
    758,
    "A token review names the audiences that token and reviewer have in common",
    source="API reference: TokenReview",
)
def test_common_audiences(api: Api) -> None:
    account(api)
    token = token_of(api, audiences=["a", "b"])
    assert review(api, token, "b", "a", "z")["audiences"] == ["b", "a"]
    wrong = 'token audiences ["a" "b"] is invalid for the target audiences '
    assert review(api, token, "z") == {"user": {}, "error": f'[invalid bearer token, {wrong}["z"]]'}
    assert review(api, token) == {"user": {}, "error": f'[invalid bearer token, {wrong}["{API_SERVER}"]]'}
    assert review(api, token_of(api))["audiences"] == [API_SERVER]


@behaviour(759, "A token lives at least ten minutes and at most 2^32 seconds", source=REQUEST)
def test_lifetimes(api: Api) -> None:
    account(api)
    assert request(api, expirationSeconds=600)["spec"]["expirationSeconds"] == 600
    for seconds in (599, -1, 1 << 33):
        answer = api("POST", api.core("serviceaccounts", "robot", "token"), {"spec": {"expirationSeconds": seconds}})
        answer.refused(422, "Invalid", kind="TokenRequest", group=AUTHENTICATION)
        assert answer.causes() == {("spec.expirationSeconds", "FieldValueInvalid")}


@behaviour(760, "A token request speaks of the account in its path, which must exist", source=REQUEST)
def test_places_of_token_requests(api: Api) -> None:
    account(api)
    path = api.core("serviceaccounts", "robot", "token")
    missing = api("POST", api.core("serviceaccounts", "nobody", "token"), {"spec": {}})
    missing.refused(404, "NotFound", 'serviceaccounts "nobody" not found')
    answer = api("POST", path, {"metadata": {"name": "other"}, "spec": {}}).refused(422, "Invalid", name="robot")
    assert answer.causes() == {("metadata.name", "FieldValueInvalid")}
    api("POST", path, {"metadata": {"namespace": "default"}, "spec": {}}).refused(400, "BadRequest")
    api("GET", path).refused(405, "MethodNotAllowed")


@behaviour(761, "A token can be bound to a pod, a secret or a node that is there, and to nothing else", source=BOUND)
def test_bound_objects(api: Api) -> None:
    account(api)
    path = api.core("serviceaccounts", "robot", "token")
    secret = api.create(api.core("secrets"), {"metadata": {"name": "s"}})["metadata"]
    reference = {"kind": "Secret", "apiVersion": "v1", "name": "s"}
    said = claims(token_of(api, boundObjectRef=reference))["kubernetes.io"]
    assert said["secret"] == {"name": "s", "uid": secret["uid"]}

    def refused(code: int, reason: str, **more: str) -> str:
        answer = api("POST", path, {"spec": {"boundObjectRef": {**reference, **more}}}).refused(code, reason)
        return str(answer.body["message"])

    wrong = "cannot bind token to object of type /v1, Kind=ConfigMap"
    assert refused(400, "BadRequest", kind="ConfigMap") == wrong
    assert refused(404, "NotFound", name="nobody") == 'secrets "nobody" not found'
    refused(404, "NotFound", kind="Node", name="nobody")
    assert "does not match the UID in record" in refused(409, "Conflict", uid="another")


@behaviour(762, "A token bound to a pod names pod and node, and only the pod's own account gets one", source=BOUND)
def test_bound_to_a_pod(api: Api) -> None:
    account(api)
    api.create_pod("p", serviceAccountName="robot", nodeName="n-1")
    api.create_pod("q", nodeName="n-1")
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    token = token_of(api, boundObjectRef=reference)
    said = claims(token)["kubernetes.io"]
    assert (said["pod"]["name"], said["node"]["name"]) == ("p", "n-1")
    extra = review(api, token)["user"]["extra"]
    prefix = "authentication.kubernetes.io/"
    assert (extra[f"{prefix}pod-name"], extra[f"{prefix}node-name"]) == (["p"], ["n-1"])
    path = api.core("serviceaccounts", "robot", "token")
    answer = api("POST", path, {"spec": {"boundObjectRef": {**reference, "name": "q"}}})
    why = 'cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name.'
    answer.refused(400, "BadRequest", why)


@behaviour(763, "A token ends with its account, also when one of that name comes again", source=BOUND)
def test_end_of_an_account(api: Api) -> None:
    account(api)
    tokens = [token_of(api) for _ in range(LOOKS)]
    api.delete(api.core("serviceaccounts", "robot"))
    account(api)
    self_of(api.as_user(soon_ended(api, tokens))).refused(401, "Unauthorized")
    assert self_of(api.as_user(token_of(api))).status == 201


@behaviour(764, "A token ends with the object that it is bound to", source=BOUND)
def test_end_of_a_bound_object(api: Api) -> None:
    account(api)
    api.create(api.core("secrets"), {"metadata": {"name": "s"}})
    tokens = [token_of(api, boundObjectRef={"kind": "Secret", "apiVersion": "v1", "name": "s"}) for _ in range(LOOKS)]
    api.delete(api.core("secrets", "s"))
    self_of(api.as_user(soon_ended(api, tokens))).refused(401, "Unauthorized")


@behaviour(765, "A changed token, or one that is none, is 401 everywhere", source="Reference: Authenticating")
def test_foreign_tokens(api: Api) -> None:
    account(api)
    head, body, signature = token_of(api).split(".")
    for token in (f"{head}.{body}.{signature[:-6]}AAAAAA", f"{head}.{body}.", "nobody's"):
        api.as_user(token)("GET", api.core("pods")).refused(401, "Unauthorized", "Unauthorized")
        api.as_user(token)("GET", "/version").refused(401, "Unauthorized")


@behaviour(766, "Tokens are given to who may create them", source=REQUEST)
def test_right_to_tokens(api: Api) -> None:
    account(api)
    path = api.core("serviceaccounts", "robot", "token")
    somebody(api)("POST", path, {"spec": {}}).refused(403, "Forbidden")
    who = somebody(api, rule("create", "serviceaccounts/token", "", "robot"))
    assert who("POST", path, {"spec": {}}).status == 201
    who("POST", api.core("serviceaccounts", "default", "token"), {"spec": {}}).refused(403, "Forbidden")


@behaviour(
    767,
    "A secret of the kind service-account-token must name its account",
    source="Concepts: Secrets, service account token Secrets",
)
def test_token_secrets(api: Api) -> None:
    secret = {"metadata": {"name": "s"}, "type": "kubernetes.io/service-account-token"}
    answer = api("POST", api.core("secrets"), secret).refused(422, "Invalid")
    field = "metadata.annotations[kubernetes.io/service-account.name]"
    assert answer.causes() == {(field, "FieldValueRequired")}
