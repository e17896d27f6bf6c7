"""Logs and metrics: a thin face on the libraries."""
