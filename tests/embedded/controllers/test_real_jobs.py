"""Jobs on a real kube-apiserver, judged by kubectl; with ``--real`` the same on kube-controller-manager."""

from typing import Any

from real_world import NEEDS_CONTROL_PLANE, Kubectl

pytestmark = NEEDS_CONTROL_PLANE

RUN_FOR, EXIT_CODE = "simulated.tensor-fusion.ai/run-for", "simulated.tensor-fusion.ai/exit-code"


def job(name: str, spec: str = "", *, end: str = "", code: int = 0, restart: str = "Never") -> str:
    annotations = f'{{"{RUN_FOR}": "{end}", "{EXIT_CODE}": "{code}"}}' if end else "{}"
    return f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  {spec}
  template:
    metadata: {{annotations: {annotations}}}
    spec: {{restartPolicy: {restart}, containers: [{{name: c, image: v1}}]}}
"""


def facts(status: dict[str, Any]) -> dict[str, Any]:
    """A status without its times."""
    found = {name: value for name, value in status.items() if not name.endswith("Time")}
    keys = ("type", "status", "reason", "message")
    found["conditions"] = [tuple(each[key] for key in keys) for each in status.get("conditions", ())]
    return found


async def test_a_job_completes_when_enough_pods_have_succeeded(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=job("ok", "completions: 3\n  parallelism: 2", end="0s"))
    await kubectl("wait", "--for=condition=Complete", "job/ok", "--timeout=60s")
    found = await kubectl.json("get", "job", "ok")
    reached = ("True", "CompletionsReached", "Reached expected number of succeeded pods")
    assert facts(found["status"]) == {
        "conditions": [("SuccessCriteriaMet", *reached), ("Complete", *reached)],
        "ready": 0,
        "succeeded": 3,
        "terminating": 0,
        "uncountedTerminatedPods": {},
    }
    assert found["status"]["completionTime"] >= found["status"]["startTime"]
    pods = await kubectl.items("pods", "-l", "job-name=ok")
    assert len(pods) == 3
    assert not any(pod["metadata"].get("finalizers") for pod in pods)
    described = await kubectl("describe", "job", "ok")
    assert "Pods Statuses:    0 Active (0 Ready) / 3 Succeeded / 0 Failed" in described
    assert ("Normal", "Completed", "Job completed") in await kubectl.events("ok", "Completed")
    assert (await kubectl("get", "job", "ok", "--no-headers")).split()[1:3] == ["Complete", "3/3"]


async def test_a_job_fails_beyond_its_backoff_limit(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=job("bad", "backoffLimit: 0", end="0s", code=3))
    await kubectl("wait", "--for=condition=Failed", "job/bad", "--timeout=60s")
    found = await kubectl.json("get", "job", "bad")
    reason = ("True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert facts(found["status"]) == {
        "conditions": [("FailureTarget", *reason), ("Failed", *reason)],
        "failed": 1,
        "ready": 0,
        "terminating": 0,
        "uncountedTerminatedPods": {},
    }
    assert ("Warning", "BackoffLimitExceeded", reason[2]) in await kubectl.events("bad", "BackoffLimitExceeded")


async def test_each_index_of_an_indexed_job_has_a_pod_that_knows_it(kubectl: Kubectl) -> None:
    spec = "completions: 4\n  parallelism: 2\n  completionMode: Indexed"
    await kubectl("apply", "-f", "-", stdin=job("idx", spec, end="0s"))
    await kubectl("wait", "--for=condition=Complete", "job/idx", "--timeout=60s")
    status = (await kubectl.json("get", "job", "idx"))["status"]
    assert (status["completedIndexes"], status["succeeded"]) == ("0-3", 4)
    pods = await kubectl.items("pods", "-l", "job-name=idx")
    assert sorted(pod["spec"]["hostname"] for pod in pods) == ["idx-0", "idx-1", "idx-2", "idx-3"]
    for pod in pods:
        index = pod["spec"]["hostname"].removeprefix("idx-")
        assert pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == index
        assert pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == index
        assert pod["metadata"]["generateName"] == f"idx-{index}-"
        (variable,) = pod["spec"]["containers"][0]["env"]
        assert variable["name"] == "JOB_COMPLETION_INDEX"
        field = "metadata.labels['batch.kubernetes.io/job-completion-index']"
        assert variable["valueFrom"]["fieldRef"]["fieldPath"] == field


async def test_a_suspended_job_waits_and_goes_on(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=job("sus", "parallelism: 2\n  completions: 2\n  suspend: true"))
    await kubectl("wait", "--for=condition=Suspended", "job/sus", "--timeout=60s")
    assert "startTime" not in (await kubectl.json("get", "job", "sus"))["status"]
    await kubectl("patch", "job", "sus", "-p", '{"spec":{"suspend":false}}')
    await kubectl.until("job/sus", ".status.ready", "2")
    await kubectl("patch", "job", "sus", "-p", '{"spec":{"suspend":true}}')
    await kubectl("wait", "--for=delete", "pod", "-l", "job-name=sus", "--timeout=60s")
    await kubectl.until("job/sus", ".status.terminating", "0")
    status = (await kubectl.json("get", "job", "sus"))["status"]
    assert status["conditions"][0]["reason"] == "JobSuspended"
    assert "failed" not in status  # the pods that it gave up do not count
    assert status.get("active", 0) == 0
    await kubectl.events("sus", "Suspended", "Resumed", "SuccessfulCreate", "SuccessfulDelete")


async def test_a_job_ends_at_its_deadline(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=job("late", "activeDeadlineSeconds: 1"))
    await kubectl("wait", "--for=condition=Failed", "job/late", "--timeout=60s")
    status = facts((await kubectl.json("get", "job", "late"))["status"])
    reason = ("True", "DeadlineExceeded", "Job was active longer than specified deadline")
    assert status["conditions"] == [("FailureTarget", *reason), ("Failed", *reason)]
    assert status["failed"] == 1


async def test_a_pod_failure_policy_ends_a_job_at_once(kubectl: Kubectl) -> None:
    policy = "{rules: [{action: FailJob, onExitCodes: {containerName: c, operator: In, values: [42]}}]}"
    await kubectl("apply", "-f", "-", stdin=job("policy", f"podFailurePolicy: {policy}", end="0s", code=42))
    await kubectl("wait", "--for=condition=Failed", "job/policy", "--timeout=60s")
    condition = facts((await kubectl.json("get", "job", "policy"))["status"])["conditions"][-1]
    pod = (await kubectl.items("pods", "-l", "job-name=policy"))[0]["metadata"]["name"]
    message = f"Container c for pod {kubectl.namespace}/{pod} failed with exit code 42 matching FailJob rule at index 0"
    assert condition == ("Failed", "True", "PodFailurePolicy", message)


async def test_a_success_policy_ends_a_job_and_its_other_pods(kubectl: Kubectl) -> None:
    spec = "completions: 3\n  parallelism: 3\n  completionMode: Indexed\n  successPolicy: {rules: [{succeededIndexes: '1'}]}"
    await kubectl("apply", "-f", "-", stdin=job("leader", spec))
    await kubectl.until("job/leader", ".status.ready", "3")
    label = "job-name=leader,batch.kubernetes.io/job-completion-index=1"
    await kubectl("annotate", "pod", "-l", label, f"{RUN_FOR}=0s")
    await kubectl("wait", "--for=condition=Complete", "job/leader", "--timeout=60s")
    status = facts((await kubectl.json("get", "job", "leader"))["status"])
    met = ("True", "SuccessPolicy", "Matched rules at index 0")
    assert status["conditions"] == [("SuccessCriteriaMet", *met), ("Complete", *met)]
    assert (status["succeeded"], status["completedIndexes"], status.get("active", 0)) == (1, "1", 0)
    assert "failed" not in status


async def test_a_finished_job_goes_when_its_time_is_over(kubectl: Kubectl) -> None:
    held = "metadata: {name: brief, finalizers: [test.example/hold]}"  # to see that it is being deleted
    manifest = job("brief", "ttlSecondsAfterFinished: 1", end="0s").replace("metadata: {name: brief}", held)
    await kubectl("apply", "-f", "-", stdin=manifest)
    await kubectl("wait", "--for=condition=Complete", "job/brief", "--timeout=60s")
    await kubectl("wait", "--for=jsonpath={.metadata.deletionTimestamp}", "job/brief", "--timeout=60s")
    await kubectl("patch", "job", "brief", "-p", '{"metadata":{"finalizers":null}}')


async def test_a_deleted_pod_counts_as_failed(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=job("hit", "parallelism: 1"))
    await kubectl.until("job/hit", ".status.ready", "1")
    await kubectl("delete", "pod", "-l", "job-name=hit")
    await kubectl.until("job/hit", ".status.failed", "1")


async def test_pods_of_a_job_that_is_gone_are_not_held(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=job("gone"))
    await kubectl.until("job/gone", ".status.ready", "1")
    await kubectl("delete", "job", "gone", "--cascade=background")
    await kubectl("delete", "pod", "-l", "job-name=gone", "--timeout=60s")


async def test_an_index_fails_by_itself_where_failures_are_limited_per_index(kubectl: Kubectl) -> None:
    spec = "completions: 3\n  parallelism: 3\n  completionMode: Indexed\n  backoffLimitPerIndex: 0"
    await kubectl("apply", "-f", "-", stdin=job("each", spec))
    await kubectl.until("job/each", ".status.ready", "3")
    label = "job-name=each,batch.kubernetes.io/job-completion-index"
    await kubectl("annotate", "pod", "-l", f"{label}=1", f"{RUN_FOR}=0s", f"{EXIT_CODE}=1")
    await kubectl.until("job/each", ".status.failedIndexes", "1")
    await kubectl("annotate", "pod", "-l", f"{label} in (0,2)", f"{RUN_FOR}=0s")
    await kubectl("wait", "--for=condition=Failed", "job/each", "--timeout=60s")
    status = facts((await kubectl.json("get", "job", "each"))["status"])
    why = ("True", "FailedIndexes", "Job has failed indexes")
    assert status == {
        "completedIndexes": "0,2",
        "conditions": [("FailureTarget", *why), ("Failed", *why)],
        "failed": 1,
        "failedIndexes": "1",
        "ready": 0,
        "succeeded": 2,
        "terminating": 0,
        "uncountedTerminatedPods": {},
    }
    pods = await kubectl.items("pods", "-l", "job-name=each")
    counts = {pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] for pod in pods}
    assert counts == {"0"}
