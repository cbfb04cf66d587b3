"""Bringing a release up, and down. Never waits without end, and says why it did not come up."""

import re
import time
from collections.abc import Callable

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus, LoggingConfig

from serving import VERSION
from serving.app_names import FRONT, app_of
from serving.client import Client
from serving.errors import DeployError, NotEnoughResources
from serving.front import Front
from serving.predictor import Predictor
from serving.protocol.model import model_path
from serving.registry import Release
from serving.replica import model_app
from training.package.read import read_manifest
from training.package.serve_config import ServeConfig

POLL_S = 0.1


def deploy(release: Release, config: ServeConfig, timeout_s: float = 120.0) -> str:
    """Serve a release on the running Ray and Serve, and return its URL once it answers. Updates a model served already.

    The package must be reachable by the same path from every node that may hold a replica.

    Raises:
        PackageError: the package is altered, or answers its golden rows otherwise on this machine.
        NotEnoughResources: the cluster, now or at its largest, cannot hold the fewest replicas asked for.
        DeployError: a replica did not start, with its own reason, or not in time.
    """
    # Before anything that runs is touched: Serve would take the old replicas down for new ones that never start.
    Predictor.load(release.package).self_test()
    require_room(config, gpus_of(release, config))
    start_release(release, config, timeout_s)
    return f"{endpoint_url(config)}{model_path(release.name)}"


def endpoint_url(config: ServeConfig) -> str:
    """Where clients on this machine reach the endpoint."""
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::", "") else config.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}"


def undeploy(name: str) -> None:
    """Stop serving a model. The front goes with the last one. Nothing happens to a model that is not served."""
    serve.delete(app_of(name))
    if set(serve.status().applications) == {FRONT}:
        serve.delete(FRONT)


def start_release(release: Release, config: ServeConfig, timeout_s: float) -> None:
    """Start the replicas and wait until they answer over HTTP. Raises DeployError with the replica's reason."""
    deadline = time.monotonic() + timeout_s
    app = app_of(release.name)
    before = serve.status().applications
    version = str(release.version)
    targets = [
        serve.RunTarget(
            model_app(release.package, release.name, version, config, gpus_of(release, config)), app,
            model_path(release.name),
        )
    ]  # fmt: skip
    if FRONT not in before:
        targets.append(serve.RunTarget(_front_app(), FRONT, "/"))
    serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    try:
        for target in targets:
            _wait_for(target.name, deadline, lambda: True)
        # Right after an update Serve may still say "running" of the old replicas, and HAProxy learns of the new ones
        # some time after the controller: only the answer itself tells.
        with Client(endpoint_url(config), timeout_s=5.0) as client:
            _wait_for(app, deadline, lambda: client.ready(release.name, version) and client.live())
    except DeployError:
        if app not in before:
            serve.delete(app, _blocking=False)  # an update keeps what still serves
        raise


def _front_app() -> serve.Application:
    front = serve.deployment(
        name="front",
        num_replicas=1,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0},
        logging_config=LoggingConfig(enable_access_log=False),
    )(Front)
    return front.bind(VERSION)


def _wait_for(app: str, deadline: float, answers: Callable[[], bool]) -> None:
    while True:
        overview = serve.status().applications.get(app)
        status = overview.status if overview else ApplicationStatus.NOT_STARTED
        if status == ApplicationStatus.RUNNING and answers():
            return
        reason = cause(
            "\n".join([overview.message, *(d.message for d in overview.deployments.values())] if overview else [])
        )
        if status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
            raise DeployError(f"{app} did not start: {reason}", "the replica's log stands in Ray's session folder")
        if time.monotonic() > deadline:
            raise _too_late(app, status, reason)
        time.sleep(POLL_S)


def _too_late(app: str, status: ApplicationStatus, reason: str) -> DeployError:
    if status == ApplicationStatus.RUNNING:
        return DeployError(
            f"{app} runs, but its HTTP port does not answer for it",
            "does another program hold the port? set serve.port to a free one",
        )
    return DeployError(
        f"{app} is still {status.value.lower().replace('_', ' ')}: {reason}",
        "free CPUs, lower serve.cpus_per_replica or serve.replicas.min, or look at `ray status`",
    )


def cause(message: str) -> str:
    """The one line of Serve's message that a person needs: the innermost exception, without its traceback."""
    raised = re.findall(r"^(?:ray\.exceptions\.)?[\w.]*?(\w+(?:Error|Exception|Input)): (.+)$", message, re.MULTILINE)
    if raised:
        kind, text = raised[-1]
        return text if kind == "PackageError" else f"{kind}: {text}"
    return " ".join(message.split()) or "Serve gives no reason"


def gpus_of(release: Release, config: ServeConfig) -> float:
    """GPUs of each replica: as the settings say, or one where the chosen form needs it and there are any."""
    if config.gpus_per_replica is not None:
        return config.gpus_per_replica
    needs_one = read_manifest(release.package).variant().device == "cuda"
    return 1.0 if needs_one and any(gpus for _, gpus in (*_running(), *_declared(1))) else 0.0


def require_room(config: ServeConfig, gpus: float = 0.0) -> None:
    """Raise NotEnoughResources, with the most that fits, when the cluster can never hold the fewest replicas asked for.

    Replicas of other models are not counted: they may leave.

    Args:
        config: how many replicas, and of how many CPUs.
        gpus: of each replica.
    """
    running, declared = _running(), _declared(config.replicas.min)
    fitting = max(_num_fitting(nodes, config.cpus_per_replica, gpus) for nodes in (running, declared))
    if fitting >= config.replicas.min:
        return
    if _num_fitting([*running, *declared], config.cpus_per_replica, 0.0) == 0:
        largest = max((cpus for cpus, _ in (*running, *declared)), default=0.0)
        raise NotEnoughResources(
            f"serve.cpus_per_replica={config.cpus_per_replica:g} fits on no node: the largest has {largest:g} CPUs",
            f"--set serve.cpus_per_replica={largest:g}",
        )
    if fitting == 0:
        raise NotEnoughResources(
            f"a replica of {config.cpus_per_replica:g} CPU and {gpus:g} GPU fits on no node: the largest number of "
            f"GPUs on one is {max(owned for _, owned in (*running, *declared)):g}",
            "--set serve.gpus_per_replica=0 serves a form for CPUs",
        )
    each = f"{config.cpus_per_replica:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    raise NotEnoughResources(
        f"serve.replicas.min={config.replicas.min} of {each} each can never start here: "
        f"the cluster has {sum(cpus for cpus, _ in running):g} CPU on {len(running)} node(s)",
        f"at most {fitting} fit: --set serve.replicas.min={fitting}",
    )


def _num_fitting(nodes: list[tuple[float, float]], cpus: float, gpus: float) -> int:
    """How many replicas these nodes hold, each whole on one node."""
    return sum(
        min(int(owned / needed + 1e-9) for owned, needed in zip(node, (cpus, gpus), strict=True) if needed > 0)
        for node in nodes
    )


def _running() -> list[tuple[float, float]]:
    """CPUs and GPUs of each node that is there."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]


def _declared(enough: int) -> list[tuple[float, float]]:
    """Of each node that an autoscaling cluster could have at its largest; no more than `enough` of each type."""
    cluster = ray._private.state.state.get_cluster_config()
    groups = cluster.node_group_configs if cluster is not None else []
    # A negative count means no limit.
    return [
        (group.resources.get("CPU", 0.0), group.resources.get("GPU", 0.0))
        for group in groups
        for _ in range(enough if group.max_count < 0 else min(group.max_count, enough))
    ]
