"""What a server warns of in kinds of which it has one thing to say.

Source: warnings of Kubernetes 1.34, by behaviour.
"""

from tensorfusion.embedded.schema.builtin.networks import INGRESS_CLASS
from tensorfusion.model.meta import Raw


def small_warnings(resource: str, obj: Raw, old: Raw | None) -> list[str]:
    """The warnings about a valid object of one of these kinds; ``old`` is what it replaces."""
    spec = obj.get("spec") or {}
    match resource:
        case "ingresses.networking.k8s.io":
            annotations = [(one or {}).get("metadata", {}).get("annotations") or {} for one in (obj, old)]
            if INGRESS_CLASS in annotations[0] and INGRESS_CLASS not in annotations[1]:
                return [f"annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"]
        case "persistentvolumes" if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            advice = "Instead, the recommended approach is to use dynamic provisioning."
            return [f"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. {advice}"]
        case "statefulsets.apps" if (spec.get("revisionHistoryLimit") or 0) < 0:
            why = "a negative value retains all historical revisions; a value >= 0 is recommended"
            return [f"spec.revisionHistoryLimit: {why}"]
    return []
