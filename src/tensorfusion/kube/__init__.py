"""The Kubernetes API client: where the API is, typed calls, patches, watches."""
