"""The operating layer of a GPU cloud: pool, share, schedule and account for GPUs through the Kubernetes API."""

__version__ = "0.1.0"
