"""Manifests in the loose dialects that circulate, rewritten into the schema of tensor-fusion.ai/v1."""
