"""Keys of the gateway: who calls, and what for.

- ``secret``   a key as a text: made, hashed, never shown
- ``record``   a key as the gateway knows it
- ``errors``   why somebody is not let in
- ``book``     the key of a request to its record
- ``file``     keys of a YAML file
- ``objects``  keys that are LLMKey objects of the API
"""
