"""The scheduler as a service: the watch in, one atomic Binding out, and every decision explained."""
