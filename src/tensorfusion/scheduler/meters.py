"""The scheduler's metrics, named once. Those of every pod are tallies: they cost a tenth of the library's own."""

from tensorfusion.telemetry.metrics import REGISTRY, gauge
from tensorfusion.telemetry.tallies import Tally, TimingTally

ONE: tuple[str, ...] = ()
"""The label values of what has no labels."""

DECISIONS = Tally("tensorfusion_scheduler_decisions", "Decisions by result.", ("result",), registry=REGISTRY)
DECISION_SECONDS = TimingTally(
    "tensorfusion_scheduler_decision_seconds",
    "Time of one decision.",
    ONE,
    bounds=(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1),
    registry=REGISTRY,
)
BINDINGS = Tally("tensorfusion_scheduler_bindings", "Bindings by outcome.", ("outcome",), registry=REGISTRY)
BIND_SECONDS = TimingTally(
    "tensorfusion_scheduler_bind_seconds",
    "From the decision to the answer to the Binding.",
    ONE,
    bounds=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0),
    registry=REGISTRY,
)
ALLOCATIONS = Tally(
    "tensorfusion_scheduler_allocations", "Pods that got shares, by pool.", ("pool",), registry=REGISTRY
)
ALLOCATION_FAILURES = Tally(
    "tensorfusion_scheduler_allocation_failures",
    "Decisions that found no share for a pod, by pool.",
    ("pool",),
    registry=REGISTRY,
)
TOPOLOGY = Tally(
    "tensorfusion_scheduler_topology_plans",
    "Decisions about pods of several devices that looked at their distances, satisfied or unsatisfied by the "
    "allowed tier; of unknown distances (fallback) and by heuristic search (degraded) besides.",
    ("pool", "result"),
    registry=REGISTRY,
)
GANGS = Tally(
    "tensorfusion_scheduler_gangs", "What became of gangs that were decided as a whole.", ("result",), registry=REGISTRY
)
PREEMPTIONS = Tally(
    "tensorfusion_scheduler_preemptions",
    "Searches for pods to evict, by what came of them.",
    ("result",),
    registry=REGISTRY,
)
EVICTIONS = Tally(
    "tensorfusion_scheduler_evictions", "Evictions for other pods, by fate.", ("fate",), registry=REGISTRY
)
RECLAIMED = Tally(
    "tensorfusion_scheduler_reclaimed_pods",
    "Pods that were evicted because their namespace held what another one had lent, by tree of cohorts.",
    ("cohort",),
    registry=REGISTRY,
)
DEFRAG_STEPS = Tally(
    "tensorfusion_scheduler_defrag_steps", "Nodes that were begun to be emptied, by pool.", ("pool",), registry=REGISTRY
)
DEFRAG_EVICTIONS = Tally(
    "tensorfusion_scheduler_defrag_evictions",
    "Evictions of pods that are moved, by fate.",
    ("fate",),
    registry=REGISTRY,
)
DEFRAG_FREED = Tally(
    "tensorfusion_scheduler_defrag_freed_devices",
    "Whole devices that moves freed, by pool.",
    ("pool",),
    registry=REGISTRY,
)
NOMINATED = gauge("tensorfusion_scheduler_nominated_pods", "Pods that wait for others to leave their place.")
PENDING = gauge("tensorfusion_scheduler_pending_pods", "Pending pods by place in the queue.", ("place",))
PENDING_BY_REASON = gauge(
    "tensorfusion_scheduler_waiting_pods", "Pods that were refused and wait, by reason.", ("reason",)
)
ASSUMED = gauge("tensorfusion_scheduler_assumed_pods", "Pods placed and not yet confirmed by the watch.")
IN_DOUBT = gauge("tensorfusion_scheduler_bindings_in_doubt", "Bindings whose fate is being looked up.")
OVERCOMMITTED = gauge("tensorfusion_scheduler_overcommitted_devices", "Devices of which more is held than there is.")
BORROWED_COMPUTE = gauge(
    "tensorfusion_scheduler_borrowed_gflops", "Compute that namespaces of cohorts hold above their own.", ("namespace",)
)
BORROWED_VRAM = gauge(
    "tensorfusion_scheduler_borrowed_vram_bytes",
    "Memory that namespaces of cohorts hold above their own.",
    ("namespace",),
)
BORROWED_DEVICES = gauge(
    "tensorfusion_scheduler_borrowed_devices",
    "Shares of devices that namespaces of cohorts hold above their own.",
    ("namespace",),
)
CONFIGURATION_VALID = gauge(
    "tensorfusion_scheduler_configuration_valid", "1 while the configuration file is in force, 0 while an older one is."
)
LOOP_LAG_SECONDS = gauge("tensorfusion_scheduler_loop_lag_seconds", "How late the last tick of the loop was.")
