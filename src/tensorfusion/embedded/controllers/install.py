"""All controllers of the embedded cluster's built-in kinds, put together over one manager's informers."""

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.cronjob import CronJobController
from tensorfusion.embedded.controllers.daemonset import DaemonSetController
from tensorfusion.embedded.controllers.deployment import DeploymentController
from tensorfusion.embedded.controllers.disruption import DisruptionController
from tensorfusion.embedded.controllers.endpoints import EndpointsController
from tensorfusion.embedded.controllers.job import JobController
from tensorfusion.embedded.controllers.node_taints import NodeTaintController
from tensorfusion.embedded.controllers.replicaset import ReplicaSetController
from tensorfusion.embedded.controllers.resourceclaims import ResourceClaimController
from tensorfusion.embedded.controllers.routing import PodRoutes
from tensorfusion.embedded.controllers.statefulset import StatefulSetController
from tensorfusion.embedded.controllers.volumes import VolumeController
from tensorfusion.kube.api import Api
from tensorfusion.runtime.manager import Manager


def install_controllers(client: Api, manager: Manager, *, clock: Clock) -> None:
    """Register every controller; ``client`` is who they write as."""
    ReplicaSetController(client, clock=clock).install(manager)
    DeploymentController(client, clock=clock).install(manager)
    routes = PodRoutes(manager)
    JobController(client, clock=clock).install(manager, routes)
    CronJobController(client, clock=clock).install(manager)
    StatefulSetController(client, clock=clock).install(manager, routes)
    DaemonSetController(client, clock=clock).install(manager, routes)
    EndpointsController(client, clock=clock).install(manager)
    DisruptionController(client, clock=clock).install(manager)
    ResourceClaimController(client, clock=clock).install(manager)
    NodeTaintController(client, clock=clock).install(manager)
    VolumeController(client, clock=clock).install(manager)
