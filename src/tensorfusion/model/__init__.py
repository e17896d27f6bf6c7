"""What exists: typed objects of the Kubernetes API and of ``tensor-fusion.ai/v1``. No I/O."""
