"""AzureGPUSource: the flat names of machines and the nested example, and what they say in the schema.

Source: the platform's contract, aliases of AzureGPUSource.
"""

from tensorfusion.model import keys
from tensorfusion.policy.dialects.draft import (
    ABSENT,
    Draft,
    Json,
    Path,
    Step,
    Untranslatable,
    drop,
    move,
    one_of,
    ratio,
    refuse,
    run,
    same,
    text,
)

_AKS_NOTES = {"resourceGroup": f"{keys.DOMAIN}/aks-resource-group", "nodePoolName": f"{keys.DOMAIN}/aks-node-pool"}
"""What the schema has no field for is kept where whoever reads the source finds it."""

_ALERT_AT = 0.8


def _listed(value: Json) -> Json:
    return value if isinstance(value, list) else [value]


def _spot_or_number(draft: Draft) -> None:
    """``priority`` is a machine's kind there and a preference here."""
    if isinstance(draft.get("spec.priority"), str):
        words = {"Spot": "Spot", "spot": "Spot", "Regular": "Regular", "regular": "Regular"}
        draft.move("spec.priority", "spec.vm.priority", one_of(words, "Spot or Regular, or a number from 0 to 100"))


def _provision(draft: Draft) -> None:
    value = draft.get("spec.autoProvision")
    if value is True:
        draft.drop("spec.autoProvision", "a source of machines buys them")
    elif value is False:
        draft.move("spec.autoProvision", "spec.enabled")


def _schedule(draft: Draft) -> None:
    if not isinstance(draft.get("spec.schedule"), dict):
        return
    entries: list[Json] = []
    for side in ("scaleUp", "scaleDown"):
        found = draft.take(("spec", "schedule", side))
        if found is ABSENT:
            continue
        if not isinstance(found, list):
            draft.refuse(("spec", "schedule", side), "a list of {cron, instances}", found)
            continue
        for index, entry in enumerate(found):
            if not isinstance(entry, dict) or set(entry) != {"cron", "instances"}:
                draft.refuse(("spec", "schedule", side, index), "{cron, instances}", entry)
                continue
            entries.append({"cron": entry["cron"], "minInstances": entry["instances"]})
    draft.rest("spec.schedule", "only scaleUp and scaleDown")
    if entries and draft.put("spec.scaling.schedule", entries):
        draft.note(f"spec.schedule -> spec.scaling.schedule: a list of {len(entries)}")


def _cost_alerts(draft: Draft) -> None:
    draft.move("spec.costAlertThreshold", "spec.cost.alertThreshold", ratio)
    on = draft.get("spec.enableCostAlerts")
    if on is True:
        draft.take("spec.enableCostAlerts")
        if not draft.has("spec.cost.alertThreshold"):
            draft.put("spec.cost.alertThreshold", _ALERT_AT)
        draft.note(f"spec.enableCostAlerts: true -> spec.cost.alertThreshold: {draft.get('spec.cost.alertThreshold')}")
    elif on is False:
        draft.drop("spec.enableCostAlerts", "without a threshold there are no alerts")
        draft.drop("spec.cost.alertThreshold", "alerts are switched off")


def _credentials(draft: Draft) -> None:
    if not isinstance(draft.get("spec.credentials"), dict):
        return
    methods = {
        "service-principal": "servicePrincipal",
        "servicePrincipal": "servicePrincipal",
        "managed-identity": "managedIdentity",
        "managedIdentity": "managedIdentity",
        "access-key": "accessKey",
        "accessKey": "accessKey",
    }
    wanted = "servicePrincipal, managedIdentity or accessKey"
    draft.move("spec.credentials.type", "spec.auth.method", one_of(methods, wanted))
    draft.move("spec.credentials.subscriptionId", "spec.subscriptionID")
    if draft.get("spec.auth.method") == "managedIdentity":
        draft.move("spec.credentials.clientId", "spec.auth.managedIdentityClientID")
    principal: Path = ("spec", "auth", "servicePrincipal")
    for old, new in (("tenantId", "tenantID"), ("clientId", "clientID"), ("clientSecretRef", "clientSecret")):
        draft.move(("spec", "credentials", old), (*principal, new), _secret if new == "clientSecret" else None)
    draft.move("spec.credentials.clientSecret", (*principal, "clientSecret"), _secret)
    draft.rest("spec.credentials", "type, tenantId, clientId and clientSecret {name, namespace, key}")


def _secret(value: Json) -> Json:
    if not isinstance(value, dict) or set(value) != {"name", "namespace", "key"}:
        raise Untranslatable("a reference {name, namespace, key} to a Secret")
    return value


def _aks(draft: Draft) -> None:
    if not isinstance(draft.get("spec.aksCluster"), dict):
        return
    draft.move("spec.aksCluster.clusterName", "spec.aksClusterName")
    draft.move("spec.aksCluster.syncInterval", "spec.syncInterval")
    for field, annotation in _AKS_NOTES.items():
        draft.move(f"spec.aksCluster.{field}", ("metadata", "annotations", annotation))
    draft.drop("spec.aksCluster.autoDiscovery", "what a cluster offers is always read from it")
    draft.rest("spec.aksCluster", "only resourceGroup, clusterName, nodePoolName, autoDiscovery and syncInterval")


def _foundry(draft: Draft) -> None:
    spaces = draft.get("spec.azureFoundry.workspaces")
    if isinstance(spaces, list) and len(spaces) == 1:
        (space,) = spaces
        endpoint = space.get("endpoint", space.get("url")) if isinstance(space, dict) else space
        if isinstance(endpoint, str):
            draft.move("spec.azureFoundry.workspaces", "spec.foundryEndpoint", lambda _: endpoint)
    refuse("spec.azureFoundry.workspaces", "one workspace with its endpoint: make one source for each")(draft)
    refuse("spec.azureFoundry.modelFilter", "availableModels with the models that may be used")(draft)
    refuse("spec.azureFoundry.deploymentConfig", "it unset: deployments of a foundry are not scaled by a source")(draft)
    draft.prune("spec.azureFoundry")


def _source_type(draft: Draft) -> None:
    """Which of the three it is, where only its fields say so."""
    kinds = {
        "aks": draft.has("spec.aksClusterName"),
        "foundry": draft.has("spec.foundryEndpoint"),
        "vm": draft.has("spec.vm"),
    }
    stated = [kind for kind, is_there in kinds.items() if is_there]
    if draft.has("spec.sourceType") or not stated:
        return
    if len(stated) > 1:
        draft.refuse("spec.sourceType", f"one source for each of {' and '.join(stated)}", ABSENT)
        return
    draft.put("spec.sourceType", stated[0])
    draft.note(f"spec.sourceType: nothing -> {stated[0]}")


def _mapping(draft: Draft) -> None:
    rows = draft.get("spec.resourceMapping.gpuModels")
    if not isinstance(rows, list):
        return
    models = []
    for index, row in enumerate(rows):
        where = ("spec", "resourceMapping", "gpuModels", index)
        if not isinstance(row, dict) or not {"azureSKU", "gpuModel", "vramGB", "tflops"} <= set(row):
            draft.refuse(where, "azureSKU, gpuModel, vramGB and tflops", row)
            return
        if row.get("count", 1) != 1:
            draft.refuse((*where, "count"), "1: availableModels speaks of one device", row["count"])
            return
        memory = f"{row['vramGB']}Gi"
        models.append({"modelName": row["gpuModel"], "sku": row["azureSKU"], "tflops": row["tflops"], "vram": memory})
    draft.move("spec.resourceMapping.gpuModels", "spec.availableModels", lambda _: models)
    draft.prune("spec.resourceMapping")


def _off_or_refused(path: str, why: str) -> Step:
    """A part that is fine as long as it is switched off."""

    def step(draft: Draft) -> None:
        value = draft.get(path)
        if value is False or (isinstance(value, dict) and value.get("enabled") is False):
            draft.drop(path, "it is switched off")
        else:
            refuse(path, why)(draft)

    return step


_TO_VM = (
    ("vmSizes", "vmSizes", None),
    ("vmSize", "vmSizes", _listed),
    ("resourceGroup", "resourceGroup", None),
    ("maxPrice", "maxPrice", text),
    ("evictionPolicy", "evictionPolicy", None),
    ("virtualNetwork", "virtualNetwork", None),
    ("subnet", "subnet", None),
    ("networkSecurityGroup", "networkSecurityGroup", None),
    ("tags", "tags", None),
    ("zones", "zones", None),
    ("image", "image", None),
    ("healthCheckInterval", "healthCheck.interval", None),
    ("healthCheckTimeout", "healthCheck.timeout", None),
    ("unhealthyThreshold", "healthCheck.unhealthyThreshold", None),
)
_TO_SCALING = (
    ("targetGPUPool", None),
    ("minInstances", None),
    ("maxInstances", None),
    ("targetUtilization", ratio),
    ("scaleUpThreshold", ratio),
    ("scaleDownThreshold", ratio),
    ("scaleUpStep", None),
    ("cooldownPeriod", None),
    ("idleTimeout", None),
)

TABLE: tuple[Step, ...] = (
    move("spec.subscriptionId", "spec.subscriptionID"),
    move("spec.location", "spec.region"),
    _credentials,
    _aks,
    _foundry,
    _spot_or_number,
    *(move(f"spec.{old}", f"spec.vm.{new}", to) for old, new, to in _TO_VM),
    *(move(f"spec.{name}", f"spec.scaling.{name}", to) for name, to in _TO_SCALING),
    *(same(f"spec.scaling.{name}", ratio) for name in ("targetUtilization", "scaleUpThreshold", "scaleDownThreshold")),
    _schedule,
    move("spec.maxMonthlyCost", "spec.cost.maxMonthlyCost", text),
    _cost_alerts,
    same("spec.cost.maxMonthlyCost", text),
    same("spec.cost.alertThreshold", ratio),
    same("spec.vm.maxPrice", text),
    same("spec.costPerHour", text),
    _provision,
    _mapping,
    move("spec.sync.interval", "spec.syncInterval"),
    lambda draft: draft.rest("spec.sync", "only interval"),
    drop("spec.monitoring", "a source is watched through its status and metrics"),
    _off_or_refused("spec.crossSubscriptionScan", "one source for each subscription"),
    _off_or_refused("spec.arbitrage", "it unset: sources are compared by price, their priority and availability"),
    _source_type,
)


def rewrite(draft: Draft) -> None:
    """Rewrite a manifest in place."""
    run(draft, TABLE)
