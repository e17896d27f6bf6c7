"""What a gateway on Kubernetes is told by objects: routes, keys, credentials, replicas.

- ``kinds``      what is read of Secrets, Services and EndpointSlices
- ``followed``   those of them that routes refer to, and no others, each kept by an informer of its own
- ``services``   an address in the words of the cluster to the endpoints that stand behind it
- ``snapshot``   everything as it is now, made into routes, credentials and addresses; what is wrong is named
- ``source``     the informers, and when a change of theirs is put in force
- ``telling``    what this worker has counted, for whoever of its host writes; ``reports``: all that were told
- ``statuses``   what becomes of routes, in their status; ``figures``: its numbers; ``ledger``: each request once
- ``writing``    who of them writes; ``first``: of a host
- ``program``    the gateway that objects tell its routes: one process, or workers on one port
"""
