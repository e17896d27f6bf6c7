"""Admission over HTTP: what ``policy.admission`` and ``policy.guards`` decide, asked by an API server."""
