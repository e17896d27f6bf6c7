"""Portkey's configurations (``x-portkey-config``, or a file of them) as routes.

- ``reading``: JSON to a ``Config``: a route whose targets are the leaves, and the tree that decides among them.
- ``settings``: what a configuration and its targets are told: retries, statuses, weights, headers, the cache.
- ``values``: JSON values held to what they must be.
- ``tree``: the modes single, loadbalance, fallback and conditional, and the walk of one request through them.
- ``queries``: the conditions of conditional.

Source: Portkey Gateway's config schema. What of it is honoured, refused or different is in
``docs/guides/llm-routes.md``.
"""
