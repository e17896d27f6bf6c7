"""The functions that Kubernetes adds to those every CEL has, one module for each of its libraries."""
