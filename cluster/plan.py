"""A search's plan: its data, and the machines that would work on it. A Ray is asked only where one is named."""

from cluster.place import Place
from cluster.session import target_of
from training.config import Experiment
from training.data.prepare import prepare
from training.errors import ConfigError
from training.pipeline import deciding_metric
from training.progress import Progress
from training.search.plan.plan import Plan, Slots, make_plan, slots_here, slots_of
from training.search.search import require_possible
from training.suitable import require_suitable


def plan(experiment: Experiment, progress: Progress, place: Place) -> Plan:
    """Read the data, count the slots, time a few steps. Nothing is written.

    Raises:
        ConfigError: no search section, or settings that do not go together.
        CapacityError: not one trial fits.
    """
    if experiment.search is None:
        raise ConfigError(f"{experiment.name} has no search section", "add search.space, or use `manta train`")
    slots = _slots(experiment, place)  # before the data: it fails sooner
    code_path = str(place.code_folder.resolve())
    progress.stage("data", experiment.data.source)
    prepared = prepare(experiment.data, code_path=code_path)
    require_suitable(experiment.train, prepared.facts, prepared.validation.target)
    require_possible(experiment, experiment.search, prepared)
    metric = deciding_metric(experiment, prepared.facts)
    progress.stage("plan", "a few steps at the corners of the space")
    return make_plan(experiment, prepared, metric, slots, code_path)


def _slots(experiment: Experiment, place: Place) -> Slots:
    if place.is_local:
        return slots_here(experiment)
    with place.session():
        from training.hosts import machines  # noqa: PLC0415  # loads Ray, which a plan for this machine does not need

        nodes = [node.total for node in machines.usable()]
        return slots_of(nodes, experiment, f"the cluster at {target_of(place.address)} ({len(nodes)} node(s))")
