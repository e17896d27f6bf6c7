"""A small simulator of placement policies on traces: how much of a cluster can be handed out, and who is turned away.

Columns and clocks of its own, no API, no processes: a run over a thousand machines and ten thousand arrivals takes
seconds, so that policies can be compared over many shuffles. ``world`` holds what is free, ``policies`` the seam that a
policy fills and the names they go by, ``inflation`` and ``churn`` the two protocols, ``product`` the placement modes of
the product behind the same seam, decided by the code that decides in a cluster.
"""
