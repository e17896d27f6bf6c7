"""The node agent: finds devices, publishes them, and refuses a share that its device cannot hold."""
