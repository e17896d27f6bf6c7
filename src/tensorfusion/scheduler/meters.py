"""The scheduler's metrics, named once."""

from tensorfusion.telemetry.metrics import counter, gauge, histogram

DECISIONS = counter("tensorfusion_scheduler_decisions_total", "Decisions by result.", ("result",))
DECISION_SECONDS = histogram(
    "tensorfusion_scheduler_decision_seconds",
    "Time of one decision.",
    buckets=(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1),
)
BINDINGS = counter("tensorfusion_scheduler_bindings_total", "Bindings by outcome.", ("outcome",))
BIND_SECONDS = histogram(
    "tensorfusion_scheduler_bind_seconds",
    "From the decision to the answer to the Binding.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0),
)
ALLOCATIONS = counter("tensorfusion_scheduler_allocations_total", "Pods that got shares, by pool.", ("pool",))
ALLOCATION_FAILURES = counter(
    "tensorfusion_scheduler_allocation_failures_total", "Decisions that found no share for a pod, by pool.", ("pool",)
)
PENDING = gauge("tensorfusion_scheduler_pending_pods", "Pending pods by place in the queue.", ("place",))
ASSUMED = gauge("tensorfusion_scheduler_assumed_pods", "Pods placed and not yet confirmed by the watch.")
IN_DOUBT = gauge("tensorfusion_scheduler_bindings_in_doubt", "Bindings whose fate is being looked up.")
OVERCOMMITTED = gauge("tensorfusion_scheduler_overcommitted_devices", "Devices of which more is held than there is.")
LOOP_LAG_SECONDS = gauge("tensorfusion_scheduler_loop_lag_seconds", "How late the last tick of the loop was.")
