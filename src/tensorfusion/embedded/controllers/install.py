"""All controllers of the embedded cluster's built-in kinds, put together over one manager's informers."""

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.deployment import DeploymentController
from tensorfusion.embedded.controllers.job import JobController
from tensorfusion.embedded.controllers.replicaset import ReplicaSetController
from tensorfusion.embedded.controllers.routing import PodRoutes
from tensorfusion.kube.api import Api
from tensorfusion.runtime.manager import Manager


def install_controllers(client: Api, manager: Manager, *, clock: Clock) -> None:
    """Register every controller; ``client`` is who they write as."""
    ReplicaSetController(client, clock=clock).install(manager)
    DeploymentController(client, clock=clock).install(manager)
    routes = PodRoutes(manager)
    JobController(client, clock=clock).install(manager, routes)
