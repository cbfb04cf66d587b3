"""What every trial of a slot has around it: the experiment, the rows, the device, and where checkpoints go."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from training.config import Experiment
from training.config_file import apply_overrides
from training.data.prepared import Facts, Part
from training.data.split import Split
from training.data.stream.part import StreamPart
from training.data.training_rows import training_rows
from training.hosts.notices import Notices
from training.metric_names import METRIC_MODES, Mode
from training.models import ModelInputs, build_model
from training.run_mirror import joined
from training.search.slot.trial_session import TrialKeeper, Watched

if TYPE_CHECKING:
    from training.data.folds import FoldTables

LATENCY_ROUNDS = 30
MB = 1e6
Rows = tuple[Facts, Part | StreamPart, Part]  # facts, training rows, rows that judge


@dataclass(frozen=True)
class FoldRows:
    """How to make any fold's rows."""

    tables: "FoldTables"
    splits: tuple[Split, ...]

    def rows(self, fold: int) -> Rows:
        """Transforms and the target's scale come from the fold's own training rows."""
        return self.tables.encoded(self.splits[fold])


@dataclass
class Surroundings:
    """Of one slot."""

    base: Experiment
    data: Rows
    folds: FoldRows | None  # where trials are judged by folds
    metric: str
    trials_uri: str
    code_path: str
    data_base: Path  # that relative sources start from: Tune moves this process to a folder of its own
    device: torch.device
    num_devices: float = 1.0  # of a slot, GPUs or CPUs: what is paid for
    notices: Notices = field(default_factory=Notices)
    watched: Watched = field(default_factory=Watched)
    notes: list[tuple[str, str]] = field(default_factory=list)  # for the person: what about, and a line
    _kept: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # by use: what was asked for last, what it gave

    @property
    def mode(self) -> Mode:
        """Whether a large or a small score is good."""
        return METRIC_MODES[self.metric]

    def say(self, about: str, text: str) -> None:
        """A line for the person, with the slot's next words."""
        self.notes.append((about, text))

    @property
    def is_population(self) -> bool:
        """Whether trials go on from each other's weights."""
        search = self.base.search
        return search is not None and search.scheduler.kind == "pbt"

    @property
    def replicates(self) -> list[tuple[int | None, int]]:
        """(fold, number added to the seed) of each training that judges a trial, in order."""
        search = self.base.search
        assert search is not None
        folds: Sequence[int | None] = range(search.folds) if search.folds else (None,)
        return [(fold, seed) for seed in range(search.seeds) for fold in folds]

    def experiment_of(self, params: Mapping[str, Any]) -> Experiment:
        """The experiment with a trial's settings. Raises ConfigError."""
        return apply_overrides(self.base, params)

    def rows_of(self, experiment: Experiment, fold: int | None, seed: int) -> Rows:
        """What a trial trains on and is judged by; what the last one asked for alike is not made anew."""
        key = (experiment.data.model_dump_json() if experiment.data != self.base.data else "", fold)
        facts, train, validation = self._once("rows", key, lambda: self._read(experiment, fold))
        config = experiment.train.model_copy(update={"seed": seed})
        if config.imbalance.resample is None:
            return facts, train, validation
        asked = (key, config.imbalance.model_dump_json(), seed)
        learned_from = self._once("resampled", asked, lambda: training_rows(config, facts, train)[0])
        return facts, learned_from, validation

    def _read(self, experiment: Experiment, fold: int | None) -> Rows:
        is_own = experiment.data == self.base.data
        if fold is None:
            if is_own:
                return self.data
            from training.data.prepare import prepare  # noqa: PLC0415  # scikit-learn, a second that most need not wait for

            prepared = prepare(experiment.data, self.data_base, code_path=self.code_path)
            return prepared.facts, prepared.train, prepared.validation
        folds = self.folds
        if folds is None or not is_own:
            search = self.base.search
            assert search is not None
            assert search.folds is not None
            from training.data.folds import read_folds  # noqa: PLC0415  # the same

            found = read_folds(experiment.data, search.folds, self.data_base, code_path=self.code_path)
            folds = FoldRows(found.for_workers(), found.splits)
        return folds.rows(fold)

    def _once(self, use: str, key: Any, make: Any) -> Any:
        known = self._kept.get(use)
        if known is None or known[0] != key:
            self._kept[use] = known = (key, make())
        return known[1]

    def model_of(self, experiment: Experiment, facts: Facts, seed: int) -> nn.Module:
        """A new model."""
        inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
        return build_model(experiment.model, inputs, seed, self.code_path, experiment.ensemble)

    def keeper_of(self, trial: str, experiment: Experiment, *, may_be_there: bool) -> TrialKeeper:
        """Of a trial's checkpoints."""
        return TrialKeeper(self.place_of(trial), experiment.train.checkpoint, may_be_there=may_be_there)

    def place_of(self, trial: str) -> str:
        """Where a trial's checkpoints lie."""
        return joined(self.trials_uri, trial)

    def weighed(self, score: float, useful_s: float, measured: tuple[float, float] | None) -> tuple[float, ...]:
        """The objectives in their order.

        Args:
            score: of the trial so far.
            useful_s: that it trained.
            measured: what `measure` gave; None where nobody asked.
        """
        search = self.base.search
        assert search is not None
        latency_ms, size_mb = measured or (math.nan, math.nan)
        usd = useful_s * self.num_devices * (search.usd_per_device_hour or 0.0) / 3600
        known = {"score": score, "latency_ms": latency_ms, "size_mb": size_mb, "train_s": useful_s, "usd": usd}
        return tuple(known[name] for name in search.objectives)

    def measure(
        self, experiment: Experiment, make: Callable[[], nn.Module], validation: Part
    ) -> tuple[float, float] | None:
        """Milliseconds that one row takes and megabytes of weights, where the search weighs either; a model of the
        same architecture is not measured anew."""
        search = self.base.search
        if search is None or not {"latency_ms", "size_mb"} & set(search.objectives):
            return None
        key = experiment.model.model_dump_json()
        found: tuple[float, float] = self._once("measured", key, lambda: self._measured(make(), validation))
        return found

    def _measured(self, model: nn.Module, validation: Part) -> tuple[float, float]:
        tensors = [*model.parameters(), *model.buffers()]
        size_mb = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / MB
        return _latency_ms(model, validation, self.device), size_mb


@torch.no_grad()
def _latency_ms(model: nn.Module, validation: Part, device: torch.device) -> float:
    was_training = model.training
    model.eval()
    row = [torch.from_numpy(array[:1].copy()).to(device) for array in validation.tensors.values()]
    times = []
    for _ in range(LATENCY_ROUNDS):
        began = time.perf_counter()
        model(*row)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    model.train(was_training)
    return sorted(times)[len(times) // 2] * 1e3
