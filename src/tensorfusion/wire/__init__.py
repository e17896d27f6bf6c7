"""HTTP/1.1 on the hot paths: connections that parse once and forward bytes. Nothing of Kubernetes or models in here."""
