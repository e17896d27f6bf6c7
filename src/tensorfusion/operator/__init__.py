"""Reconcilers of our kinds: pools, nodes, devices, quotas and workloads, kept in step with pods and machines."""
