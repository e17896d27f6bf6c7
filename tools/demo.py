"""What ``make demo`` shows: a cluster of three simulated nodes, every example applied, and what became of each.

Uses only the installed program and what it prints for programs, as a user's script would.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [str(Path(sys.executable).with_name("tensorfusion"))]
FOLDER = Path(os.environ.get("DEMO_FOLDER") or ROOT / ".demo")
PATIENCE = 30.0
QUIET = 3.0
"""Seconds for which nothing changes before the end is told: a pod that makes room for itself waits for others first."""
GPU_IDS = "tensor-fusion.ai/gpu-ids"


def run(*arguments: str, check: bool = True) -> str:
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        sys.exit(f"demo: tensorfusion {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def items(kind: str) -> list[dict]:
    return json.loads(run("get", kind, "-A", "-o", "json", "--data", str(FOLDER)))["items"]


def condition(pod: dict) -> str:
    for entry in pod["status"].get("conditions", []):
        if entry["type"] == "PodScheduled" and entry["status"] == "False":
            return entry.get("message", "")
    return ""


def settled(pods: list[dict]) -> bool:
    return bool(pods) and all(pod["status"].get("phase") == "Running" or condition(pod) for pod in pods)


def wait_for_pods(expected: int) -> list[dict]:
    deadline = time.monotonic() + PATIENCE
    since, before = time.monotonic(), None
    while True:
        pods = items("pods")
        seen = sorted((pod["metadata"]["uid"], pod["status"].get("phase", ""), condition(pod)) for pod in pods)
        if seen != before:
            since, before = time.monotonic(), seen
        quiet = time.monotonic() - since >= QUIET
        if (len(pods) >= expected and settled(pods) and quiet) or time.monotonic() > deadline:
            return pods
        time.sleep(0.3)


def wait_for_rollup(pods: list[dict]) -> None:
    """The devices' own numbers follow the placements within about a second."""
    held = {name for pod in pods for name in pod["metadata"].get("annotations", {}).get(GPU_IDS, "").split(",") if name}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        busy = {gpu["metadata"]["name"] for gpu in items("gpus") if gpu["status"].get("runningApps")}
        pool = items("gpupools")[0]["status"]
        if busy == held and pool.get("totalGPUs"):
            return
        time.sleep(0.3)


def report(pods: list[dict]) -> None:
    devices = {gpu["metadata"]["name"]: gpu["status"] for gpu in items("gpus")}
    running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
    waiting = [pod for pod in pods if pod["status"].get("phase") != "Running"]
    print(f"\nPlaced: {len(running)} pods")
    for pod in sorted(running, key=lambda pod: (pod["metadata"]["namespace"], pod["metadata"]["name"])):
        annotations = pod["metadata"].get("annotations", {})
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        ids = [device for device in annotations.get(GPU_IDS, "").split(",") if device]
        if not ids:
            print(f"  {name:<38} no GPU asked for                        on {pod['spec']['nodeName']}")
            continue
        prefix = "tensor-fusion.ai/"
        compute = annotations.get(f"{prefix}tflops-request")
        share = f"{compute} TFLOPS" if compute else f"{annotations.get(f'{prefix}compute-percent-request')} %"
        places = ", ".join(f"device {devices[device]['index']} ({devices[device]['gpuModel']})" for device in ids)
        vram = annotations.get(f"{prefix}vram-request")
        print(f"  {name:<38} {share} and {vram} of {places} on {pod['spec']['nodeName']}")
    if waiting:
        print(f"\nWaiting: {len(waiting)} pods")
        for pod in waiting:
            print(f"  {pod['metadata']['namespace']}/{pod['metadata']['name']}: {condition(pod) or 'no decision yet'}")
            print("    more: tensorfusion explain pod", pod["metadata"]["name"], "-n", pod["metadata"]["namespace"])
    events = [event for event in items("events") if event["reason"] == "Preempted"]
    if events:
        print(f"\nEvicted: {len(events)} pod{'s' * (len(events) > 1)}")
        for event in events:
            print(f"  {event['involvedObject']['namespace']}/{event['involvedObject']['name']}: {event['message']}")
    print("\nDevices")
    print(run("top", "--data", str(FOLDER)))
    print("Pools")
    print(run("status", "--data", str(FOLDER)).split("\n\n", 1)[-1])


def main() -> None:
    keep = os.environ.get("KEEP", "") not in ("", "0")
    started = time.monotonic()
    run("down", "--data", str(FOLDER))
    shutil.rmtree(FOLDER, ignore_errors=True)
    print("Starting a cluster of three simulated nodes: 4 x A100-80G, 4 x H100-80G, 2 x L4 ...", flush=True)
    try:
        print(run("up", "--detach", "--data", str(FOLDER), "--port", "0", "--http-port", "0").splitlines()[0])
        print("\nApplying examples/ ...", flush=True)
        files = [word for file in sorted((ROOT / "examples").glob("*.yaml")) for word in ("-f", str(file))]
        print(run("apply", *files, "--data", str(FOLDER)).rstrip())
        pods = wait_for_pods(expected=13)
        wait_for_rollup(pods)
        report(pods)
        print(f"Done in {time.monotonic() - started:.1f} s.")
        ok = settled(pods)
    finally:
        if not keep:
            run("down", "--data", str(FOLDER), check=False)
            shutil.rmtree(FOLDER, ignore_errors=True)
    if keep:
        print(f"\nIt goes on running. Use it:\n  export KUBECONFIG={FOLDER}/kubeconfig\n  kubectl get pods -A -o wide")
        print(f"Stop it:\n  {PROGRAM[0]} down --data {FOLDER}")
    else:
        print("\nNothing is left running. To go on with it: KEEP=1 make demo, or")
        print("  tensorfusion up --detach && export KUBECONFIG=~/.tensorfusion/kubeconfig && kubectl get gpus")
    if not ok:
        sys.exit("demo: some pods were neither placed nor refused with a reason")


if __name__ == "__main__":
    main()
