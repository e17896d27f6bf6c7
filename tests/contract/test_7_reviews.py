"""Questions about access and identity: the review kinds. Numbers 725 to 742."""

from access import ACCESS, BINDINGS, IDENTITY, ROLES, Json, ask, binding, name_of, role, rule, self_of, somebody, user
from asking import Answer, Api
from behaviours import behaviour

REVIEWS = "API reference: authorization.k8s.io/v1"
TOKENS = "API reference: TokenReview"
OBSERVED = "observed on 1.34.2"
GET_PODS: Json = {"verb": "get", "resource": "pods"}


def post(api: Api, kind: str, spec: Json, **metadata: str) -> Answer:
    return api("POST", f"{ACCESS}/{kind}", {"metadata": metadata, "spec": spec})


@behaviour(725, "A self subject access review says whether its author may do something", source=REVIEWS)
def test_self_access(api: Api) -> None:
    here = {"namespace": api.namespace}
    who = somebody(api, rule("get", "pods"))
    kind = "selfsubjectaccessreviews"
    assert ask(who, kind, resourceAttributes={**GET_PODS, **here})["allowed"] is True
    assert ask(who, kind, resourceAttributes={**GET_PODS, **here, "verb": "delete"}) == {"allowed": False}
    assert ask(who, kind, resourceAttributes=GET_PODS) == {"allowed": False}
    assert ask(who, kind, nonResourceAttributes={"verb": "get", "path": "/version"})["allowed"] is True
    assert ask(api, kind, resourceAttributes=GET_PODS) == {"allowed": True}


@behaviour(726, "A review says by which binding something is allowed", source=OBSERVED)
def test_reasons(api: Api) -> None:
    who = name_of(somebody(api, rule("get", "pods")))
    here = {**GET_PODS, "namespace": api.namespace}
    why = f'RBAC: allowed by RoleBinding "r/{api.namespace}" of Role "r" to User "{who}"'
    assert ask(api, user=who, resourceAttributes=here) == {"allowed": True, "reason": why}
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace}
    api.create(api.path(*BINDINGS), binding("b", "r", account))
    robot = f"system:serviceaccount:{api.namespace}:robot"
    api.eventually(lambda: ask(api, user=robot, resourceAttributes=here)["allowed"])
    why = f'RBAC: allowed by RoleBinding "b/{api.namespace}" of Role "r" to ServiceAccount "robot/{api.namespace}"'
    assert ask(api, user=robot, resourceAttributes=here)["reason"] == why
    known = {"user": "jane", "groups": ["system:authenticated"]}
    name = "system:discovery"
    why = f'RBAC: allowed by ClusterRoleBinding "{name}" of ClusterRole "{name}" to Group "system:authenticated"'
    assert ask(api, **known, nonResourceAttributes={"verb": "get", "path": "/api"})["reason"] == why


@behaviour(727, "Names and subresources of a review count as in a request", source=REVIEWS)
def test_attributes(api: Api) -> None:
    rules = (rule("get", "secrets", "", "mine"), rule("create", "pods/eviction"))
    who = name_of(somebody(api, *rules))

    def may(**asked: str) -> bool:
        return bool(ask(api, user=who, resourceAttributes={"namespace": api.namespace, **asked})["allowed"])

    assert may(verb="get", resource="secrets", name="mine")
    assert not may(verb="get", resource="secrets", name="other")
    assert not may(verb="get", resource="secrets")
    assert may(verb="create", resource="pods", subresource="eviction")
    assert not may(verb="create", resource="pods")


@behaviour(728, "A review of a star asks for everything at once", source=REVIEWS)
def test_stars(api: Api) -> None:
    everything = {"verb": "*", "resource": "*", "group": "*"}
    assert ask(api, "selfsubjectaccessreviews", resourceAttributes=everything) == {"allowed": True}
    who = name_of(somebody(api, rule("*", "configmaps")))
    here = {"namespace": api.namespace, "resource": "configmaps"}
    assert ask(api, user=who, resourceAttributes={**here, "verb": "*"})["allowed"] is True
    assert ask(api, user=who, resourceAttributes={**here, "verb": "get", "group": "*"}) == {"allowed": False}


@behaviour(729, "A review asks for a resource or for a URL, not for both or neither", source=REVIEWS)
def test_malformed_reviews(api: Api) -> None:
    url = {"path": "/", "verb": "get"}
    for kind, who in (("selfsubjectaccessreviews", {}), ("subjectaccessreviews", {"user": "jane"})):
        answer = post(api, kind, who).refused(422, "Invalid", group="authorization.k8s.io")
        assert answer.causes() == {("spec.resourceAttributes", "FieldValueInvalid")}
        answer = post(api, kind, {**who, "resourceAttributes": GET_PODS, "nonResourceAttributes": url})
        assert answer.refused(422, "Invalid").causes() == {("spec.nonResourceAttributes", "FieldValueInvalid")}


@behaviour(730, "A subject access review names a user or groups", source=REVIEWS)
def test_subjects(api: Api) -> None:
    answer = post(api, "subjectaccessreviews", {"resourceAttributes": GET_PODS}).refused(422, "Invalid")
    assert answer.causes() == {("spec.user", "FieldValueInvalid")}
    assert ask(api, groups=["system:masters"], resourceAttributes=GET_PODS) == {"allowed": True}
    assert ask(api, user="jane", resourceAttributes=GET_PODS) == {"allowed": False}


@behaviour(731, "A review has no name, and stays nowhere", source=OBSERVED)
def test_reviews_are_not_stored(api: Api) -> None:
    spec = {"user": "jane", "resourceAttributes": GET_PODS}
    answer = post(api, "subjectaccessreviews", spec, name="x").refused(422, "Invalid")
    assert answer.causes() == {("metadata", "FieldValueInvalid")}
    made = post(api, "subjectaccessreviews", spec).body
    assert (made["kind"], made["spec"]) == ("SubjectAccessReview", spec)
    assert not {"name", "uid", "resourceVersion"} & made["metadata"].keys()
    api("GET", f"{ACCESS}/subjectaccessreviews").refused(405, "MethodNotAllowed")
    assert api("POST", f"{ACCESS}/subjectaccessreviews?dryRun=All", {"spec": spec}).status == 201


@behaviour(732, "A local review asks about its own namespace alone", source="API reference: LocalSubjectAccessReview")
def test_local_reviews(api: Api) -> None:
    who = name_of(somebody(api, rule("get", "pods")))
    path, here = api.path("authorization.k8s.io/v1", "localsubjectaccessreviews"), {"namespace": api.namespace}

    def asked(metadata: Json, **spec: object) -> Answer:
        return api("POST", path, {"metadata": metadata, "spec": {"user": who, **spec}})

    assert asked(here, resourceAttributes={**GET_PODS, **here}).body["status"]["allowed"] is True
    asked({"namespace": "default"}, resourceAttributes={**GET_PODS, **here}).refused(400, "BadRequest")
    for wrong in ({**GET_PODS, "namespace": "default"}, GET_PODS):
        answer = asked(here, resourceAttributes=wrong).refused(422, "Invalid")
        assert answer.causes() == {("spec.resourceAttributes.namespace", "FieldValueInvalid")}
    answer = asked(here, nonResourceAttributes={"path": "/", "verb": "get"}).refused(422, "Invalid")
    assert answer.causes() == {("spec.nonResourceAttributes", "FieldValueInvalid")}


@behaviour(733, "Reviews of others need the right to ask, those of oneself do not", source=REVIEWS)
def test_right_to_ask(api: Api) -> None:
    who = somebody(api)
    assert post(who, "selfsubjectaccessreviews", {"resourceAttributes": GET_PODS}).status == 201
    assert post(who, "selfsubjectrulesreviews", {"namespace": api.namespace}).status == 201
    assert self_of(who).status == 201
    post(who, "subjectaccessreviews", {"user": "jane", "resourceAttributes": GET_PODS}).refused(403, "Forbidden")
    who("POST", f"{IDENTITY}/tokenreviews", {"spec": {"token": "x"}}).refused(403, "Forbidden")


@behaviour(734, "A rules review lists what its author may do in a namespace, as the rules say it", source=REVIEWS)
def test_rules_review(api: Api) -> None:
    rules = [rule("list get", "configmaps"), rule("get", "secrets", "", "b", "a"), rule("*", "jobs cronjobs", "batch")]
    status = ask(somebody(api, *rules), "selfsubjectrulesreviews", namespace=api.namespace)
    assert status["incomplete"] is False
    for wanted in rules:
        assert wanted in status["resourceRules"]
    questions = {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"]}
    questions["resources"] = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    assert questions in status["resourceRules"]
    health = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]}
    assert health in status["nonResourceRules"]


@behaviour(
    735, "A rules review of another namespace does not list what counts here; it has to name one", source=REVIEWS
)
def test_rules_of_another_namespace(api: Api) -> None:
    who = somebody(api, rule("get", "configmaps"))
    elsewhere = ask(who, "selfsubjectrulesreviews", namespace="default")["resourceRules"]
    assert rule("get", "configmaps") not in elsewhere
    answer = api("POST", f"{ACCESS}/selfsubjectrulesreviews", {"spec": {}})
    answer.refused(400, "BadRequest", "no namespace on request")


@behaviour(736, "A self subject review says who its author is, whatever it claims", source="KEP-3325")
def test_self_subject_review(api: Api) -> None:
    info = self_of(api).body["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("admin", ["system:masters", "system:authenticated"])
    claim = {"metadata": {"name": "x"}, "status": {"userInfo": {"username": "somebody else"}}}
    made = api.create(f"{IDENTITY}/selfsubjectreviews", claim)
    assert (made["status"]["userInfo"]["username"], "name" in made["metadata"]) == ("admin", False)
    api("GET", f"{IDENTITY}/selfsubjectreviews").refused(405, "MethodNotAllowed")


@behaviour(737, "A token review says whose token it is and for whom it was made", source=TOKENS)
def test_token_review(api: Api) -> None:
    status = api.create(f"{IDENTITY}/tokenreviews", {"spec": {"token": api.address.token}})["status"]
    assert (status["authenticated"], status["user"]["username"]) == (True, "admin")
    assert status["audiences"] == ["https://kubernetes.default.svc"]


@behaviour(738, "A review of a token that is none says so, and no more", source=TOKENS)
def test_review_of_no_token(api: Api) -> None:
    status = api.create(f"{IDENTITY}/tokenreviews", {"spec": {"token": "nobody's"}})["status"]
    assert status == {"user": {}, "error": "invalid bearer token"}
    answer = api("POST", f"{IDENTITY}/tokenreviews", {"spec": {}})
    answer.refused(400, "BadRequest", "token is required for TokenReview in authentication")


@behaviour(739, "A right is seen by reviews and requests alike", source=REVIEWS)
def test_reviews_and_requests_agree(api: Api) -> None:
    who = somebody(api, rule("get", "configmaps"))
    api.create(api.path(*ROLES), role("later", rule("list", "configmaps")))
    asked = {"namespace": api.namespace, "verb": "list", "resource": "configmaps"}
    assert ask(who, "selfsubjectaccessreviews", resourceAttributes=asked) == {"allowed": False}
    who("GET", api.core("configmaps")).refused(403, "Forbidden")
    api.create(api.path(*BINDINGS), binding("later", "later", user(name_of(who))))
    api.eventually(lambda: ask(who, "selfsubjectaccessreviews", resourceAttributes=asked)["allowed"])
    assert who("GET", api.core("configmaps")).status == 200
