"""A recorded period once more, in virtual time, decided by the scheduler's own code: as it was, or as it could be.

Apart from the scheduler because nothing here runs in a cluster. ``jobs`` are the arrivals of a recording, ``scenario``
what is to be different, ``replay`` the run, ``report`` what came of it.
"""
