"""Why a container cannot start yet: the reasons of a kubelet, as an error that carries what the status says."""

from tensorfusion.errors import TensorFusionError

CONFIG_ERROR = "CreateContainerConfigError"
IMAGE_ERROR = "ErrImagePull"
IMAGE_BACK_OFF = "ImagePullBackOff"
CRASH_BACK_OFF = "CrashLoopBackOff"
CREATING = "ContainerCreating"
INITIALIZING = "PodInitializing"


class Waiting(TensorFusionError):
    """A container waits, for ``reason``; tried again later."""

    retryable = True

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
