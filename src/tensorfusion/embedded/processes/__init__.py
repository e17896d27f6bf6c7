"""Process nodes: pods of this machine's node run as local processes. Imported only with ``--run-processes``."""
