"""Resource quotas: what a namespace may hold at most.

``usage`` says what one object uses, ``scopes`` which objects a quota is about, ``account`` adds up one quota,
``quotas`` follows the store and stands in admission, ``status`` writes what the accounts say into the objects.

The truth is in the accounts, which are counted from the objects themselves: a write that fails or a crash leaves
nothing to correct, and a pod costs no write of a quota. A real API server charges ``status.used`` instead and has a
controller correct it; here the status only shows.
"""
