"""More of reviews and refusals. Numbers 740 to 744 and 752."""

from typing import Any

from access import ACCESS, IDENTITY, somebody
from asking import Api
from behaviours import behaviour
from customs import messages

OBSERVED = "observed on 1.34.2"
REVIEWS = "Authorization: Checking API access"


@behaviour(740, "A health check by its own name needs a right, all of them together do not", source=OBSERVED)
def test_single_checks(api: Api) -> None:
    who = somebody(api)
    assert who("GET", "/readyz").status == 200
    answer = who("GET", "/readyz/etcd")
    assert answer.status == 403
    assert answer.body["message"].endswith('cannot get path "/readyz/etcd"')
    assert api("GET", "/readyz/etcd").status == 200


@behaviour(741, "An access review is refused for everything that is wrong with it", source=REVIEWS)
def test_all_causes(api: Api) -> None:
    def causes(kind: str, **spec: Any) -> list[str]:
        answer = api("POST", f"{ACCESS}/{kind}", {"spec": spec}).refused(422, "Invalid")
        return [message.partition(": ")[0] for message in messages(answer)]

    asked, path = {"verb": "get", "resource": "pods"}, {"verb": "get", "path": "/x"}
    both = {"resourceAttributes": asked, "nonResourceAttributes": path}
    assert causes("subjectaccessreviews") == ["spec.resourceAttributes", "spec.user"]
    assert causes("subjectaccessreviews", **both) == ["spec.nonResourceAttributes", "spec.user"]
    twice = {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]}
    found = causes("selfsubjectaccessreviews", resourceAttributes={**asked, "fieldSelector": twice})
    assert found == ["spec.resourceAttributes.fieldSelector.rawSelector"]


@behaviour(
    742, "A selector of a review with an operator that there is not counts for nothing, which is said", source=REVIEWS
)
def test_unread_selectors(api: Api) -> None:
    selector = {"requirements": [{"key": "a", "operator": "Like", "values": ["b"]}]}
    asked = {"verb": "list", "resource": "pods", "labelSelector": selector}
    status = api.create(f"{ACCESS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": asked}})["status"]
    assert status["allowed"] is True
    assert status["evaluationError"] == "spec.resourceAttributes.labelSelector ignored due to parse error"


@behaviour(743, "Reviews are made, not found, and one of oneself says when", source=OBSERVED)
def test_reviews(api: Api) -> None:
    assert "creationTimestamp" in api.create(f"{IDENTITY}/selfsubjectreviews", {})["metadata"]
    api("GET", f"{IDENTITY}/tokenreviews/a").refused(404, "NotFound")
    api("GET", f"{IDENTITY}/tokenreviews").refused(405, "MethodNotAllowed")
    rules = api.create(f"{ACCESS}/selfsubjectrulesreviews", {"spec": {"namespace": api.namespace}})
    assert rules["spec"] == {}


@behaviour(744, "A name with quotes is quoted in refusals", source=OBSERVED)
def test_quoted_names(api: Api) -> None:
    who = api.as_user(Impersonate_User='a"b')
    answer = who("GET", api.core("pods")).refused(403, "Forbidden")
    assert answer.body["message"].startswith('pods is forbidden: User "a\\"b" cannot list resource')
