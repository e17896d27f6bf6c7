"""The AI gateway: one address in front of many models, keys and limits at the door, failover that shows in no answer.

The road of a request, and who keeps which part of it:

- ``front``       from a request to its answer, from a failure to an error in the client's words (``apis``, ``faults``)
- ``asking``      the body of a request, read as little as a decision needs, and rewritten for a target
- ``keys``, ``limits``  who asks, what they may and how much: reserved before, settled exactly once behind
- ``attempts``    one request against one target after another, until one answers (``outcomes``: how each failed)
- ``upstreams``   what a target is on the wire: replicas, credential, path (``secrets``, ``passing``, ``probing``)
- ``speech``      in whose words a target is asked, where it does not speak as the client does
- ``whole``       an answer that comes in one piece: judged, then sent
- ``streaming``   an answer that comes as events: held back until its first word, passed on byte by byte, never cut
                  short in silence (``sse``: events out of bytes; ``reading``, ``typed``, ``listening``: what they say;
                  ``splicing``: the other target's answer, fitted behind what the client already has)
- ``verbatim``    what has no form here, passed on as it is; ``mirroring``: load tests; ``portkey``: configurations that
                  requests bring along
- ``evidence``    what is left of a request: a record, counters, money (``lines``, ``exposition``, ``counting``)
- ``pages``, ``openapi``  what is no model's: health, models, routes, dry runs

And what it is made of: ``state`` is all that is in force, swapped as a whole; ``process`` is one process, told by files
(``configuring``, ``reloading``, ``program``) or by the objects of a cluster (``objects``).
"""
