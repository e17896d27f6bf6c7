"""What ``up`` says when a cluster is ready: what there is, and what to type next."""

from collections import Counter

from tensorfusion.cli.folder import Folder
from tensorfusion.embedded.fleet import demo_fleet, load_fleet


def welcome(folder: Folder) -> list[str]:
    """Lines for people who see a cluster for the first time."""
    nodes = load_fleet(folder.fleet_file) if folder.fleet_file.exists() else demo_fleet()
    models: Counter[str] = Counter()
    for node in nodes:
        if node.devices is not None:
            models[node.devices.model] += node.devices.count
    devices = ", ".join(f"{count} {model}" for model, count in models.most_common(6)) or "none"
    return [
        f"{len(nodes)} simulated nodes, {sum(models.values())} GPUs ({devices}); everything is in {folder.root}",
        "",
        "next:",
        f"  export KUBECONFIG={folder.kubeconfig}",
        "  kubectl get gpus              # without kubectl: tensorfusion get gpus",
        "  tensorfusion status           # processes, pools, what waits",
        "  tensorfusion top              # who holds what of which device, live",
        "  tensorfusion down             # stops it; its data stays for the next `up`",
    ]
