"""The AI gateway: one address in front of many models, keys and limits at the door, failover that shows in no answer.

The road of a request, and who keeps which part of it:

- ``front``      path and method to what is asked; the pages that are no model's (health, models, routes, metrics)
- ``asking``     the body of a request, read as little as a decision needs, and rewritten for a target
- ``keys``       who asks, and what they may
- ``limits``     how much they may: reserved before, settled exactly once behind
- ``attempts``   one request against one target after another, until one answers
- ``upstreams``  what a target is on the wire: address, credential, fields, connections
- ``whole``      an answer that comes in one piece: judged, then sent
- ``streaming``  an answer that comes as events: held back until its first word, passed on byte by byte, never cut short
                 in silence
- ``splicing``   the other target's answer, fitted behind what the client already has
- ``sse``        events out of bytes, with the bytes
- ``reading``    what an event or an answer says, as far as anybody here wants to know
- ``evidence``   what is left of a request: a log record, counters, money
- ``process``    one process of it; ``configuring``, ``reloading``, ``program``: told by files
"""
