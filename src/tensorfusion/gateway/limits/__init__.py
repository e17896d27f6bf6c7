"""How much callers may ask: requests and tokens a minute, and requests in flight.

- ``rules``     what is limited, in integers, and whose counter a request is counted on
- ``verdict``   what a caller is told: what is left, and when to come again
- ``holding``   what is held for one request, given back exactly once; the Protocol that all counters have
- ``page``      memory that the worker processes of a host share: a lock, a clock, and who is alive
- ``table``     counters in such memory: taken, given back, found again after a death
- ``shared``    the counters of one host
- ``gate``      the limits of a gateway's requests: its keys' and its routes', as ``gateway.seams`` wants them
"""
