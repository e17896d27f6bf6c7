"""Webhooks that deny, fail, answer nonsense or are configured wrongly. Numbers 630 to 643."""

import threading

from asking import Answer, Api, config_map
from behaviours import behaviour
from hooks import (
    CONFIGURATIONS,
    MUTATING,
    VALIDATING,
    Json,
    Reply,
    adding,
    configured,
    denying,
    hooks,
    one,
    patching,
    path_of,
    rule,
    webhook,
)

CONTROL = "Reference: Dynamic admission control"
CONFIGURATION = "API reference: ValidatingWebhookConfiguration"
OBSERVED = "observed on 1.34.2"
FAILED = 'Internal error occurred: failed calling webhook "hook.example.com": '
UNUSABLE = f"{FAILED}received invalid webhook response: "


def tried(api: Api, name: str = "c") -> Answer:
    return api("POST", api.core("configmaps"), config_map(name, a="b"))


def answered(api: Api, kind: str, reply: Reply) -> str:
    """The message of a write that fails because of what a webhook answered."""
    with webhook(api, kind, reply):
        answer = tried(api).refused(500, "InternalError")
    what = answer.body["message"].removeprefix("Internal error occurred: ")
    assert answer.body["details"]["causes"] == [{"message": what}]
    message: str = answer.body["message"]
    return message


@behaviour(630, "A denial is 400 with the webhook's name, and says that no explanation was given", source=CONTROL)
def test_denied_without_words(api: Api) -> None:
    for kind in (MUTATING, VALIDATING):
        with webhook(api, kind, denying()):
            why = 'admission webhook "hook.example.com" denied the request without explanation'
            answer = tried(api).refused(400, "", why)
            assert "reason" not in answer.body
        with webhook(api, kind, denying(reason="Because")):
            tried(api).refused(400, "Because", 'admission webhook "hook.example.com" denied the request: Because')


@behaviour(
    631, "A denial's code, reason, message and details are passed on, unless the code is no error", source=CONTROL
)
def test_denied_with_words(api: Api) -> None:
    causes = [{"field": "data.a", "reason": "FieldValueInvalid", "message": "wrong"}]
    status = {"code": 422, "reason": "Invalid", "message": "no", "details": {"causes": causes, "retryAfterSeconds": 7}}
    with webhook(api, VALIDATING, denying(**status)):
        answer = tried(api).refused(422, "Invalid", 'admission webhook "hook.example.com" denied the request: no')
    assert answer.body["details"] == {"causes": causes, "retryAfterSeconds": 7}
    assert answer.headers["Retry-After"] == "7"
    with webhook(api, VALIDATING, denying(message="odd", code=200)):
        tried(api).refused(400, "")
    api("GET", api.core("configmaps", "c")).refused(404, "NotFound")


@behaviour(
    632,
    "A webhook that cannot be reached fails the write or is passed over, as its policy says",
    source=f"{CONTROL}: failurePolicy",
)
def test_unreachable(api: Api) -> None:
    client = {"url": "https://127.0.0.1:1/x", "caBundle": hooks().bundle}
    with webhook(api, VALIDATING, clientConfig=client, failurePolicy="Fail"):
        answer = tried(api).refused(500, "InternalError")
    why = 'Post "https://127.0.0.1:1/x?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused'
    assert answer.body["message"] == f"{FAILED}failed to call webhook: {why}"
    with webhook(api, VALIDATING, clientConfig=client, failurePolicy="Ignore"):
        assert tried(api).status == 201


@behaviour(633, "A webhook whose certificate nobody vouches for is not asked", source=f"{CONTROL}: caBundle")
def test_foreign_certificate(api: Api) -> None:
    with webhook(api, VALIDATING, clientConfig={"url": f"{hooks().url}/x"}):
        message = tried(api).refused(500, "InternalError").body["message"]
    assert message.endswith("tls: failed to verify certificate: x509: certificate signed by unknown authority")


@behaviour(634, "A webhook that names a service that is not there fails", source=f"{CONTROL}: Service reference")
def test_missing_service(api: Api) -> None:
    service = {"namespace": "default", "name": "nobody"}
    with webhook(api, VALIDATING, clientConfig={"service": service, "caBundle": hooks().bundle}):
        message = tried(api).refused(500, "InternalError").body["message"]
    assert message == (
        f'{FAILED}failed to call webhook: Post "https://nobody.default.svc:443/?timeout=10s": service "nobody" not found'
    )


@behaviour(635, "A webhook that is slower than its time-out fails", source=f"{CONTROL}: Timeouts")
def test_timeout(api: Api) -> None:
    release = threading.Event()
    with webhook(api, MUTATING, lambda _: {"allowed": release.wait(10)}, timeoutSeconds=1) as asked:
        message = tried(api).refused(500, "InternalError").body["message"]
        release.set()
        assert hooks().queries[path_of(asked)] == ["timeout=1s"]
    assert message.endswith('?timeout=1s": context deadline exceeded')


@behaviour(636, "A webhook's HTTP status other than 2xx is a failure", source=OBSERVED)
def test_http_status(api: Api) -> None:
    said = {
        404: "the server could not find the requested resource",
        500: 'an error on the server ("unknown") has prevented the request from succeeding',
        503: "the server is currently unable to handle the request",
    }
    for status, words in said.items():
        assert answered(api, VALIDATING, lambda _, status=status: status) == f"{FAILED}failed to call webhook: {words}"
    with webhook(api, VALIDATING, lambda _: 201):
        assert tried(api).status == 201


@behaviour(
    637, "An answer must be a review of the same version and uid, with a response", source=f"{CONTROL}: Response"
)
def test_unusable_answers(api: Api) -> None:
    empty = b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}'
    for kind in (MUTATING, VALIDATING):
        assert answered(api, kind, lambda _: empty) == f"{UNUSABLE}webhook response was absent"
        assert answered(api, kind, lambda _: {"uid": "other"}).endswith(', got "other"')
        for body in (b"nope", b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": {}}'):
            assert answered(api, kind, lambda _, body=body: body).startswith(FAILED)


@behaviour(638, "A patch must name its type, and only mutating webhooks may send one", source=f"{CONTROL}: Response")
def test_unusable_patches(api: Api) -> None:
    returned = f"{UNUSABLE}webhook returned response."
    assert answered(api, MUTATING, lambda _: {"patch": "W10="}) == f"{returned}patch but not response.patchType"
    only_type: Json = {"patchType": "JSONPatch"}
    assert answered(api, MUTATING, lambda _: only_type) == f"{returned}patchType but not response.patch"
    why = f"{UNUSABLE}validating webhook may not return response.patch"
    assert answered(api, VALIDATING, adding("x")) == why
    no_list = {**only_type, "patch": "e30="}
    assert answered(api, MUTATING, lambda _: no_list).startswith(f"{FAILED}received undecodable patch")
    no_base64 = {**only_type, "patch": "%%%"}
    assert (
        answered(api, MUTATING, lambda _: no_base64)
        == f"{FAILED}failed to call webhook: illegal base64 data at input byte 0"
    )


@behaviour(
    639,
    "A patch that cannot be applied, or breaks the object's types, fails the write whatever the policy",
    source=OBSERVED,
)
def test_patches_that_do_not_apply(api: Api) -> None:
    for operation in (
        {"op": "remove", "path": "/nobody"},
        {"op": "test", "path": "/data/a", "value": "other"},
        {"op": "replace", "path": "/data", "value": "text"},
        {"op": "replace", "path": "", "value": []},
        {"op": "explode", "path": "/data"},
    ):
        with webhook(api, MUTATING, patching(operation), failurePolicy="Ignore"):
            answer = tried(api).refused(500, "InternalError")
        what = answer.body["message"].removeprefix("Internal error occurred: ")
        assert answer.body["details"]["causes"] == [{"message": what}]
    api("GET", api.core("configmaps", "c")).refused(404, "NotFound")


@behaviour(640, "A patch of another namespace is refused, one of the version of a new object too", source=OBSERVED)
def test_patched_places(api: Api) -> None:
    with webhook(api, MUTATING, patching({"op": "add", "path": "/metadata/namespace", "value": "default"})):
        why = "the namespace of the provided object does not match the namespace sent on the request"
        tried(api).refused(400, "BadRequest", why)
    with webhook(api, MUTATING, patching({"op": "add", "path": "/metadata/resourceVersion", "value": "1"})):
        tried(api).refused(500, "", "resourceVersion should not be set on objects to be created")
    with webhook(api, MUTATING, patching({"op": "add", "path": "/metadata/uid", "value": "mine"})):
        assert api.create(api.core("configmaps"), config_map("c"))["metadata"]["uid"] != "mine"


@behaviour(641, "A webhook that patches a deletion fails it", source=OBSERVED)
def test_patched_deletions(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("c"))
    with webhook(api, MUTATING, adding("x"), rules=[rule(operations="DELETE")]):
        answer = api("DELETE", api.core("configmaps", "c"))
    what = (
        'admission webhook "hook.example.com" attempted to modify the object, which is not supported for this operation'
    )
    answer.refused(500, "InternalError", f"Internal error occurred: {what}")
    api.get(api.core("configmaps", "c"))


@behaviour(
    642, "What a configuration leaves out is filled in, and its changes raise its generation", source=CONFIGURATION
)
def test_defaults_of_configurations(api: Api) -> None:
    with configured(api, MUTATING, [{}], [None]) as asked:
        path = f"{CONFIGURATIONS}/mutatingwebhookconfigurations/{path_of(asked[0]).split('/')[1]}"
        made = api.get(path)
        hook = made["webhooks"][1]
        filled = {field: hook[field] for field in ("failurePolicy", "matchPolicy", "reinvocationPolicy")}
        assert filled == {"failurePolicy": "Fail", "matchPolicy": "Equivalent", "reinvocationPolicy": "Never"}
        assert (hook["timeoutSeconds"], hook["objectSelector"], hook["rules"][0]["scope"]) == (10, {}, "*")
        hook["timeoutSeconds"] = 5
        assert api.put(path, made)["metadata"]["generation"] == made["metadata"]["generation"] + 1


@behaviour(
    643, "Configurations that cannot be called or match nothing are refused, field by field", source=CONFIGURATION
)
def test_broken_configurations(api: Api) -> None:
    def causes(**more: object) -> set[tuple[str, str]]:
        hook = {field: value for field, value in one("/x", **more).items() if value is not None}
        body = {"metadata": {"name": api.other_name()}, "webhooks": [hook]}
        answer = api("POST", f"{CONFIGURATIONS}/validatingwebhookconfigurations?dryRun=All", body)
        answer.refused(422, "Invalid", kind="ValidatingWebhookConfiguration", group="admissionregistration.k8s.io")
        return {
            (field.removeprefix("webhooks[0]."), reason.removeprefix("FieldValue")) for field, reason in answer.causes()
        }

    url = "clientConfig.url"
    assert causes(name="short") == {("name", "Invalid")}
    assert causes(name=None) == {("name", "Required")}
    assert causes(clientConfig={}) == {("clientConfig", "Required")}
    assert causes(clientConfig={"url": "http://127.0.0.1/x"}) == {(url, "Invalid")}
    assert causes(clientConfig={"url": "https://a@127.0.0.1/x?b=c#d"}) == {(url, "Invalid")}
    assert causes(sideEffects="Some") == {("sideEffects", "NotSupported")}
    assert causes(sideEffects=None) == {("sideEffects", "Required")}
    assert causes(admissionReviewVersions=["v2"]) == {("admissionReviewVersions", "Invalid")}
    assert causes(timeoutSeconds=31) == {("timeoutSeconds", "Invalid")}
    assert causes(failurePolicy="Maybe") == {("failurePolicy", "NotSupported")}
    assert causes(rules=[rule("")]) == {("rules[0].resources", "Required")}
    assert causes(rules=[rule(operations="READ")]) == {("rules[0].operations[0]", "NotSupported")}
    assert causes(rules=[rule(operations="* CREATE")]) == {("rules[0].operations", "Invalid")}
    assert causes(rules=[rule("* pods")]) == {("rules[0].resources", "Invalid")}
    assert causes(rules=[rule("pods/* pods/status")]) == {("rules[0].resources[1]", "Invalid")}
    assert causes(rules=[rule(apiVersions=[""])]) == {("rules[0].apiVersions[0]", "Required")}
    assert causes(rules=[rule(scope="Everywhere")]) == {("rules[0].scope", "NotSupported")}
