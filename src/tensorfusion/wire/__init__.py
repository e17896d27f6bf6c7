"""HTTP/1.1 on the hot paths: client, server, and the relay between them, which parse once and forward bytes.

Nothing of Kubernetes or models in here.
"""
