"""Traces of requests, for whoever follows one through many services: off unless a collector is configured."""
