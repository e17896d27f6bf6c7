"""RBAC: rules, names, subresources, URLs, and that nobody grants what they do not have. Numbers 700 to 724."""

from access import (
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    RBAC,
    ROLES,
    Json,
    ask,
    binding,
    name_of,
    path_rule,
    role,
    rule,
    somebody,
    user,
)
from asking import APPLY, MERGE, Answer, Api, config_map
from behaviours import behaviour

AUTHORIZATION = "Reference: Using RBAC authorization"
ESCALATION = f"{AUTHORIZATION}: Privilege escalation prevention and bootstrapping"
OBSERVED = "observed on 1.34.2"


@behaviour(700, "A refusal says who may not do what to which resource, where", source=OBSERVED)
def test_words_of_refusals(api: Api) -> None:
    who = somebody(api)
    name = name_of(who)

    def refused(answer: Answer, what: str, **details: str) -> None:
        answer.refused(403, "Forbidden", f"{what.replace('WHO', name)}", **details)

    here = f'in the namespace "{api.namespace}"'
    what = 'configmaps is forbidden: User "WHO" cannot list resource "configmaps" in API group "" '
    refused(who("GET", api.core("configmaps")), what + here, kind="configmaps")
    refused(who("GET", "/api/v1/configmaps"), f"{what}at the cluster scope")
    what = 'configmaps "a" is forbidden: User "WHO" cannot get resource "configmaps" in API group "" '
    refused(who("GET", api.core("configmaps", "a")), what + here, name="a", kind="configmaps")
    what = 'pods "a" is forbidden: User "WHO" cannot get resource "pods/log" in API group "" '
    refused(who("GET", api.core("pods", "a", "log")), what + here, name="a", kind="pods")
    what = (
        'deployments.apps is forbidden: User "WHO" cannot deletecollection resource "deployments" in API group "apps" '
    )
    refused(who("DELETE", api.path("apps/v1", "deployments")), what + here, group="apps")
    refused(who("GET", "/metrics"), 'forbidden: User "WHO" cannot get path "/metrics"')


@behaviour(701, "Every verb of the API is asked for by its own name", source="Reference: Authorization, request verbs")
def test_verbs(api: Api) -> None:
    who = somebody(api)
    objects, one = api.core("configmaps"), api.core("configmaps", "a")
    for verb, answer in {
        "list": who("GET", objects),
        "watch": who("GET", f"{objects}?watch=true"),
        "get": who("GET", one),
        "create": who("POST", objects, config_map("a")),
        "update": who("PUT", one, config_map("a")),
        "patch": who("PATCH", one, {}, content_type=MERGE),
        "delete": who("DELETE", one),
        "deletecollection": who("DELETE", objects),
    }.items():
        assert f' cannot {verb} resource "configmaps"' in answer.refused(403, "Forbidden").body["message"]


@behaviour(702, "Access is decided before anything is looked for, also of kinds that are not there", source=OBSERVED)
def test_refused_before_missing(api: Api) -> None:
    who = somebody(api)
    who("GET", api.path("apps/v1", "nobodies")).refused(403, "Forbidden")
    who("GET", "/apis/nobody.example.com/v1/things").refused(403, "Forbidden")
    who("POST", api.core("configmaps"), "no object").refused(403, "Forbidden")
    assert who("HEAD", api.core("configmaps")).status == 403
    assert api("HEAD", api.core("configmaps")).status == 405


@behaviour(703, "A role gives its verbs on its resources in its namespace and nothing else", source=AUTHORIZATION)
def test_role(api: Api) -> None:
    who = somebody(api, rule("get list", "configmaps"))
    assert who("GET", api.core("configmaps")).status == 200
    who("GET", api.core("configmaps", "a")).refused(404, "NotFound")
    who("DELETE", api.core("configmaps", "a")).refused(403, "Forbidden")
    who("GET", api.core("secrets")).refused(403, "Forbidden")
    who("GET", "/api/v1/namespaces/default/configmaps").refused(403, "Forbidden")
    who("GET", "/api/v1/configmaps").refused(403, "Forbidden")


@behaviour(704, "A right ends with its binding, and with its role's rule", source=AUTHORIZATION)
def test_rights_end(api: Api) -> None:
    who = somebody(api, rule("get", "secrets"), rule("get", "configmaps"))
    api.merge(api.path(*ROLES, "r"), {"rules": [rule("get", "configmaps")]})
    api.eventually(lambda: who("GET", api.core("secrets", "a")).status == 403)
    who("GET", api.core("configmaps", "a")).refused(404, "NotFound")
    api.delete(api.path(*BINDINGS, "r"))
    api.eventually(lambda: who("GET", api.core("configmaps", "a")).status == 403)


@behaviour(705, "A cluster role counts where a role binding names it, in that namespace alone", source=AUTHORIZATION)
def test_cluster_role_in_a_namespace(api: Api) -> None:
    who = somebody(api)
    api.create(api.path(*BINDINGS), binding("b", "view", user(name_of(who)), kind="ClusterRole"))
    api.eventually(lambda: who("GET", api.core("configmaps")).status == 200)
    who("GET", "/api/v1/namespaces/default/configmaps").refused(403, "Forbidden")
    who("GET", api.core("secrets")).refused(403, "Forbidden")
    who("GET", "/api/v1/nodes").refused(403, "Forbidden")


@behaviour(706, "A cluster role binding counts everywhere", source=AUTHORIZATION)
def test_cluster_role_everywhere(api: Api) -> None:
    who, name = somebody(api), api.other_name()
    of = binding(name, name, user(name_of(who)), kind="ClusterRole")
    rules = role(name, rule("list", "nodes configmaps"))
    with api.made(CLUSTER_ROLES, rules), api.made(CLUSTER_BINDINGS, of):
        api.eventually(lambda: who("GET", "/api/v1/nodes?limit=1").status == 200)
        assert who("GET", "/api/v1/configmaps?limit=1").status == 200
        assert who("GET", api.core("configmaps")).status == 200


@behaviour(707, "Groups and service accounts are bound as users are", source=f"{AUTHORIZATION}: Referring to subjects")
def test_subjects(api: Api) -> None:
    group = api.other_name("group")
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace}
    api.create(api.path(*ROLES), role("r", rule("list", "configmaps")))
    api.create(api.path(*BINDINGS), binding("b", "r", {**user(group), "kind": "Group"}, account))
    of_group = api.as_user(Impersonate_User="jane", Impersonate_Group=group)
    robot = api.as_user(Impersonate_User=f"system:serviceaccount:{api.namespace}:robot")
    for who in (of_group, robot):
        api.eventually(lambda who=who: who("GET", api.core("configmaps")).status == 200)
    api.as_user(Impersonate_User="robot")("GET", api.core("configmaps")).refused(403, "Forbidden")


@behaviour(
    708, "A right with names counts for these objects, not for a creation", source=f"{AUTHORIZATION}: resourceNames"
)
def test_names(api: Api) -> None:
    who = somebody(api, rule("get update patch delete create", "secrets", "", "mine"))
    who("GET", api.core("secrets", "mine")).refused(404, "NotFound")
    who("GET", api.core("secrets", "other")).refused(403, "Forbidden")
    mine: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}}
    who("POST", api.core("secrets"), mine).refused(403, "Forbidden")
    path = f"{api.core('secrets', 'mine')}?fieldManager=m"
    assert who("PATCH", path, mine, content_type=APPLY).status == 201
    assert who("GET", api.core("secrets", "mine")).status == 200


@behaviour(
    709,
    "A list or watch that selects one name is allowed to who may list that name",
    source=f"{AUTHORIZATION}: resourceNames",
)
def test_names_of_lists(api: Api) -> None:
    who = somebody(api, rule("list watch", "secrets", "", "mine"))
    assert who("GET", f"{api.core('secrets')}?fieldSelector=metadata.name%3Dmine").status == 200
    who("GET", f"{api.core('secrets')}?fieldSelector=metadata.name%21%3Dmine").refused(403, "Forbidden")
    who("GET", f"{api.core('secrets')}?fieldSelector=metadata.name%3Dother").refused(403, "Forbidden")
    who("GET", api.core("secrets")).refused(403, "Forbidden")


@behaviour(
    710, "A subresource is a resource of its own; a star covers those too", source=f"{AUTHORIZATION}: subresources"
)
def test_subresources(api: Api) -> None:
    who = somebody(api, rule("get", "*/scale", "*"), rule("get", "pods/status"), rule("*", "*", "batch"))
    who("GET", api.core("pods", "p", "status")).refused(404, "NotFound")
    who("GET", api.core("pods", "p")).refused(403, "Forbidden")
    who("GET", api.core("pods", "p", "log")).refused(403, "Forbidden")
    who("GET", api.path("apps/v1", "deployments", "d", "scale")).refused(404, "NotFound")
    who("GET", api.path("apps/v1", "deployments", "d", "status")).refused(403, "Forbidden")
    who("GET", api.path("batch/v1", "jobs", "j", "status")).refused(404, "NotFound")


@behaviour(711, "A role in a namespace may give the right to read that namespace", source=OBSERVED)
def test_own_namespace(api: Api) -> None:
    who = somebody(api, rule("get", "namespaces"))
    assert who("GET", f"/api/v1/namespaces/{api.namespace}").status == 200
    who("GET", "/api/v1/namespaces/default").refused(403, "Forbidden")
    who("GET", "/api/v1/namespaces").refused(403, "Forbidden")


@behaviour(712, "URLs that are no resources are given by path and method, also by prefix", source=AUTHORIZATION)
def test_paths(api: Api) -> None:
    who, name = somebody(api), api.other_name()
    of = binding(name, name, user(name_of(who)), kind="ClusterRole")
    with api.made(CLUSTER_ROLES, role(name, path_rule("get", "/metrics", "/logs/*"))), api.made(CLUSTER_BINDINGS, of):
        api.eventually(lambda: who("GET", "/metrics").status == 200)
        who("POST", "/metrics", {}).refused(403, "Forbidden")
        assert who("HEAD", "/metrics").status == 403
        who("GET", "/logs").refused(403, "Forbidden")
        assert who("GET", "/logs/any/file").status != 403


@behaviour(
    713, "Everybody who is known may discover the API, and see health and version", source=f"{AUTHORIZATION}: Discovery"
)
def test_discovery_roles(api: Api) -> None:
    who = somebody(api)
    for path in ("/api", "/apis", "/api/v1", "/apis/apps/v1", "/version", "/healthz", "/livez", "/openapi/v3"):
        assert who("GET", path).status == 200, path


@behaviour(714, "Nobody can write a role with rights that they do not have", source=ESCALATION)
def test_no_escalation_by_role(api: Api) -> None:
    held = rule("get list", "configmaps")
    who = somebody(api, held, rule("get", "secrets", "", "a"), rule("create update patch", "roles", RBAC))
    roles = api.path(*ROLES)
    who.create(roles, role("same", held))
    who.create(roles, role("named", rule("get", "secrets", "", "a")))
    prefix = f'roles.{RBAC} "more" is forbidden: user "{name_of(who)}" (groups=["system:authenticated"]) is attempting '
    prefix += "to grant RBAC permissions not currently held:\n"
    for wanted, missing in {
        '{APIGroups:[""], Resources:["configmaps"], Verbs:["delete" "patch"]}': rule("get delete patch", "configmaps"),
        '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}': rule("get", "configmaps pods"),
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}': rule("get", "secrets"),
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}': rule(
            "get", "secrets", "", "a", "b"
        ),
    }.items():
        answer = who("POST", roles, role("more", missing))
        answer.refused(403, "Forbidden", prefix + wanted, name="more", kind="roles", group=RBAC)
    patch = {"rules": [rule("*", "configmaps")]}
    who("PATCH", f"{roles}/same", patch, content_type=MERGE).refused(403, "Forbidden")


@behaviour(715, "A role of more than its writer has cannot be changed by them, not even its labels", source=OBSERVED)
def test_labels_of_greater_roles(api: Api) -> None:
    who = somebody(api, rule("get patch", "roles", RBAC))
    api.create(api.path(*ROLES), role("big", rule("*", "*", "*")))
    patch = {"metadata": {"labels": {"a": "b"}}}
    who("PATCH", api.path(*ROLES, "big"), patch, content_type=MERGE).refused(403, "Forbidden", name="big")


@behaviour(716, "The verb escalate lifts the check of roles", source=ESCALATION)
def test_escalate(api: Api) -> None:
    who = somebody(api, rule("create", "roles", RBAC), rule("escalate", "roles", RBAC))
    who.create(api.path(*ROLES), role("big", rule("*", "*", "*")))


@behaviour(717, "Nobody can bind a role with rights that they do not have", source=ESCALATION)
def test_no_escalation_by_binding(api: Api) -> None:
    held = rule("get", "configmaps")
    who = somebody(api, held, rule("create", "rolebindings", RBAC))
    api.create(api.path(*ROLES), role("small", held))
    who.eventually(lambda: who("POST", api.path(*BINDINGS), binding("a", "small", user("jane"))).status == 201)
    answer = who("POST", api.path(*BINDINGS), binding("b", "cluster-admin", user("jane"), kind="ClusterRole"))
    answer.refused(403, "Forbidden", name="b", kind="rolebindings", group=RBAC)
    missing = '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}\n{NonResourceURLs:["*"], Verbs:["*"]}'
    assert answer.body["message"].endswith(f"not currently held:\n{missing}")
    answer = who("POST", api.path(*BINDINGS), binding("c", "nobody", user("jane")))
    answer.refused(404, "NotFound", f'rolebindings.{RBAC} "nobody" not found')


@behaviour(718, "The verb bind lifts the check of bindings, for the roles that it names", source=ESCALATION)
def test_bind(api: Api) -> None:
    api.create(api.path(*ROLES), role("big", rule("*", "*", "*")))
    api.create(api.path(*ROLES), role("other", rule("get", "secrets")))
    who = somebody(api, rule("create", "rolebindings", RBAC), rule("bind", "roles", RBAC, "big"))
    who.eventually(lambda: who("POST", api.path(*BINDINGS), binding("a", "big", user("jane"))).status == 201)
    who("POST", api.path(*BINDINGS), binding("b", "other", user("jane"))).refused(403, "Forbidden")


@behaviour(719, "A binding's role cannot be changed, its subjects can", source=AUTHORIZATION)
def test_role_reference(api: Api) -> None:
    made = api.create(api.path(*BINDINGS), binding("b", "r", user("jane")))
    changed = {**made, "subjects": [user("joe")]}
    assert api.put(api.path(*BINDINGS, "b"), changed)["subjects"] == [user("joe")]
    patch = {"roleRef": {"name": "other"}}
    answer = api("PATCH", api.path(*BINDINGS, "b"), patch, content_type=MERGE).refused(422, "Invalid")
    assert answer.causes() == {("roleRef", "FieldValueInvalid")}
    assert answer.body["message"].endswith(": cannot change roleRef")


@behaviour(720, "Roles that give nothing, or both resources and URLs, are refused", source="API reference: PolicyRule")
def test_malformed_rules(api: Api) -> None:
    def causes(path: str, given: Json) -> set[tuple[str, str]]:
        answer = api("POST", f"{path}?dryRun=All", role(api.other_name(), given)).refused(422, "Invalid", group=RBAC)
        return {
            (field.removeprefix("rules[0]."), reason.removeprefix("FieldValue")) for field, reason in answer.causes()
        }

    namespaced = api.path(*ROLES)
    assert causes(namespaced, {**rule("", "pods"), "verbs": []}) == {("verbs", "Required")}
    assert causes(CLUSTER_ROLES, {"verbs": ["get"], "resources": ["pods"]}) == {("apiGroups", "Required")}
    assert causes(CLUSTER_ROLES, {"verbs": ["get"], "apiGroups": [""]}) == {("resources", "Required")}
    both = {**rule("get", "pods"), "nonResourceURLs": ["/x"]}
    assert causes(CLUSTER_ROLES, both) == {("nonResourceURLs", "Invalid")}
    assert causes(namespaced, path_rule("get", "/metrics")) == {("nonResourceURLs", "Invalid")}


@behaviour(721, "Bindings of nothing, or to nobody that there can be, are refused", source="API reference: RoleBinding")
def test_malformed_bindings(api: Api) -> None:
    def causes(**more: object) -> set[tuple[str, str]]:
        body = {**binding("b", "r"), **more}
        return api("POST", api.path(*BINDINGS), body).refused(422, "Invalid", kind="RoleBinding").causes()

    reference = {"apiGroup": RBAC, "kind": "Role", "name": "r"}
    assert ("roleRef.name", "FieldValueRequired") in causes(roleRef={**reference, "name": ""})
    assert causes(roleRef={**reference, "kind": "Thing"}) == {("roleRef.kind", "FieldValueNotSupported")}
    assert causes(roleRef={**reference, "apiGroup": "x"}) == {("roleRef.apiGroup", "FieldValueNotSupported")}
    robot = {"kind": "Robot", "name": "x"}
    assert ("subjects[0].kind", "FieldValueNotSupported") in causes(subjects=[robot])
    assert causes(subjects=[{**user("x"), "apiGroup": "z"}]) == {("subjects[0].apiGroup", "FieldValueNotSupported")}
    everywhere = binding(api.other_name(), "r", {"kind": "ServiceAccount", "name": "x"}, kind="ClusterRole")
    answer = api("POST", f"{CLUSTER_BINDINGS}?dryRun=All", everywhere).refused(422, "Invalid")
    assert answer.causes() == {("subjects[0].namespace", "FieldValueRequired")}


@behaviour(
    722, "Subjects get the group that their kind belongs to; an account's namespace may be left out", source=OBSERVED
)
def test_defaults_of_subjects(api: Api) -> None:
    short = [{"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "name": "s"}]
    made = api.create(api.path(*BINDINGS), {**binding("b", "r", *short), "roleRef": {"kind": "Role", "name": "r"}})
    assert made["roleRef"]["apiGroup"] == RBAC
    assert made["subjects"] == [*({**subject, "apiGroup": RBAC} for subject in short[:2]), short[2]]


@behaviour(
    723,
    "An aggregated role has the rules of all roles that its selectors choose",
    source=f"{AUTHORIZATION}: Aggregated ClusterRoles",
)
def test_aggregation(api: Api) -> None:
    name = api.other_name()
    labels = {"gathered-by": name}
    gathering = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": labels}]}}
    who = somebody(api)
    of = binding("b", name, user(name_of(who)), kind="ClusterRole")
    part = role(f"{name}-part", rule("list", "configmaps"))
    part["metadata"]["labels"] = labels

    def rules() -> object:
        return api.get(f"{CLUSTER_ROLES}/{name}").get("rules")

    with api.made(CLUSTER_ROLES, role(name, rule("get", "nodes"), **gathering)):
        api.create(api.path(*BINDINGS), of)
        with api.made(CLUSTER_ROLES, part):
            api.eventually(lambda: rules() == [rule("list", "configmaps")])
            api.eventually(lambda: who("GET", api.core("configmaps")).status == 200)
        api.eventually(lambda: not rules())
        api.eventually(lambda: who("GET", api.core("configmaps")).status == 403)


@behaviour(724, "Members of system:masters may do everything, whatever the roles say", source=AUTHORIZATION)
def test_masters(api: Api) -> None:
    master = api.as_user(Impersonate_User=api.other_name("user"), Impersonate_Group="system:masters")
    assert master("GET", api.core("secrets")).status == 200
    asked = {"verb": "anything", "group": "nobody.example.com", "resource": "things"}
    assert ask(api, groups=["system:masters"], resourceAttributes=asked) == {"allowed": True}
    assert ask(api, user="jane", resourceAttributes=asked) == {"allowed": False}
