"""When Python's cycle collector runs in a process that keeps tens of thousands of objects.

Almost everything here is freed by its reference count; the collector is for the few cycles that errors and libraries
make. With its default thresholds it runs several dozen times for every thousand pods and finds nothing: a tenth of the
scheduler's time.
"""

import gc

_THRESHOLDS = (20_000, 20, 50)


def settle() -> None:
    """Call once, when what lives as long as the process has been loaded: it is kept out of all later collections."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
