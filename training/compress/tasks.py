"""The pieces of work that compression hands out, each a function of what it is given: here, or a task of Ray.

Files travel as bytes: a task may run on another node. Shape letters: N rows.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ray import cloudpickle
from torch import Tensor, nn

from training.compress.errors import NoScratch
from training.compress.forms.export import ScoringModel, export_onnx
from training.compress.forms.make import make_onnx_form
from training.compress.forms.torch_forms import make_torch_form
from training.compress.learned.around import Around, Base, num_weights
from training.compress.learned.distil import distilled
from training.compress.learned.prune import pruned
from training.compress.learned.qat import rounding_aware
from training.compress.measure.latency import BATCH_SIZES, measure_latency
from training.compress.measure.resident import resident_mb
from training.compress.recipe import Learn, Recipe
from training.compress.scratch import scratch
from training.config import Experiment
from training.data.prepared import Prepared
from training.models import ModelInputs, build_model
from training.package.errors import UserError
from training.package.machine import Machine, this_machine
from training.package.manifest import Latency, Task, Variant
from training.package.runtime import Runner, open_runner

Tensors = Mapping[str, np.ndarray]
EXAMPLE_ROWS = 64  # compared with torch after an export
SCORING_BATCH = 64  # about what serving joins into one call


@dataclass(frozen=True)
class Trained:
    """The trained model, and how to train its smaller forms. `prepared` is None where its data is not at hand."""

    experiment: Experiment
    weights: Mapping[str, Tensor]
    inputs: ModelInputs
    task: Task
    metric: str
    example: Tensors
    target_mean: float = 0.0
    target_scale: float = 1.0
    code_path: str = ""
    prepared: Prepared | None = None

    def module(self) -> nn.Module:
        """The model, in evaluation mode. Raises ConfigError where a class of one's own is not to be found."""
        model = build_model(self.experiment.model, self.inputs, 0, self.code_path, self.experiment.ensemble)
        model.load_state_dict(dict(self.weights))
        return model.eval()

    def scoring(self, model: nn.Module) -> ScoringModel:
        """A model that gives scores, as it is exported."""
        return ScoringModel(model, self.task, self.target_mean, self.target_scale).eval()


@dataclass(frozen=True)
class Made:
    """A model that number formats are made of."""

    steps: tuple[str, ...]
    onnx: bytes  # its fp32 form
    pickled: bytes = b""  # the module, for further steps in this run; never part of a package
    num_weights: int = 0
    validation_score: float | None = None
    tried: tuple[dict[str, Any], ...] = ()  # students of a distillation

    def module(self, code_path: str) -> nn.Module:
        """The module again, from the bytes that this very run made."""
        if code_path and code_path not in sys.path:
            sys.path.insert(0, code_path)
        model: nn.Module = cloudpickle.loads(self.pickled)
        return model


@dataclass(frozen=True)
class Left:
    """What could not be made, and why."""

    reason: str


@dataclass(frozen=True)
class Measured:
    """What one node found."""

    machine: Machine
    scores: dict[str, np.ndarray] = field(default_factory=dict)  # of all held-out rows, by form
    golden: dict[str, np.ndarray] = field(default_factory=dict)  # of the golden rows, by form
    latency: dict[str, dict[str, Latency]] = field(default_factory=dict)
    memory_mb: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)  # forms that do not run there, and why


def export(trained: Trained, model: nn.Module, path: Path) -> None:
    """Write a model's fp32 ONNX form. Raises ExportFailed."""
    export_onnx(
        model, trained.example, task=trained.task, target_mean=trained.target_mean, target_scale=trained.target_scale,
        path=path,
    )  # fmt: skip


def made_of(
    trained: Trained, base: Base, tried: Sequence[Mapping[str, Any]] = (), onnx: bytes | None = None
) -> Made:  # fmt: skip
    """A model with its fp32 form, which is exported where it is not given. Raises ExportFailed."""
    if onnx is None:
        with scratch() as folder:
            path = folder / "model.onnx"
            export(trained, base.model, path)
            onnx = path.read_bytes()
    return Made(
        base.steps, onnx, cloudpickle.dumps(base.model), num_weights(base.model), base.validation_score,
        tuple(dict(each) for each in tried),
    )  # fmt: skip


def learn(trained: Trained, wanted: Learn, start: Made | None, device: Literal["cpu", "cuda"]) -> Made | Left:
    """Train what has to be trained: prune, teach, distil, tune to rounding.

    Args:
        trained: the model, with its data.
        wanted: in which way.
        start: the model that is tuned to rounding, where it is not the trained one.
        device: to train on.
    """
    assert trained.prepared is not None, "nothing is learned without data"
    torch.set_num_threads(max(1, int(trained.experiment.train.cpus_per_worker)))
    around = Around(trained.experiment, trained.prepared, trained.metric, trained.code_path, device)
    teacher = trained.module()
    base = Base(teacher, (), num_weights(teacher))
    if start is not None:
        base = Base(start.module(trained.code_path), start.steps, start.num_weights, start.validation_score)
    try:
        return _learned(trained, wanted, base, teacher, around)
    except NoScratch:
        raise
    except UserError as error:
        return Left(error.message)
    except Exception as error:  # a model of somebody's own may raise anything; the other forms go on without this one
        return Left(_first_line(error))


def _learned(trained: Trained, wanted: Learn, base: Base, teacher: nn.Module, around: Around) -> Made:
    config = trained.experiment.compress
    if wanted.sparsity is not None:
        assert config.prune is not None
        teaching = config.distil if wanted.distils else None
        by_whom = None if teaching is None else teacher
        return made_of(trained, pruned(base, config.prune, wanted.sparsity, around, by_whom, teaching))
    if wanted.distils:
        assert config.distil is not None
        found = distilled(base, config.distil, around)
        return made_of(trained, found.base, found.tried)
    assert wanted.rounds is not None, "something is to be learned"
    assert config.qat is not None
    return made_of(trained, rounding_aware(base, config.qat, wanted.rounds, around))


def make(trained: Trained, made: Made, recipe: Recipe, calibration: Tensors) -> bytes | Left:
    """One number format of a model. OpenVINO reads ONNX Runtime's files, so nothing is made for it."""
    with scratch() as folder:
        source, target = folder / "fp32.onnx", folder / Path(recipe.file).name
        source.write_bytes(made.onnx)
        try:
            if recipe.runtime == "torch":
                scoring = trained.scoring(made.module(trained.code_path))
                make_torch_form(recipe.form, scoring, trained.example, target, recipe.device)
            else:
                make_onnx_form(recipe.form, source, target, calibration)
        except UserError as error:
            return Left(error.message)
        return target.read_bytes()


@dataclass(frozen=True)
class Measuring:
    """What is to be found out."""

    tensors: Tensors  # held-out rows
    golden: Tensors  # golden rows; empty where they are not asked for
    num_threads: int
    budget_s: float
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    with_scores: bool = True
    with_memory: bool = True


def measure(files: Mapping[str, bytes], variants: Sequence[Variant], wanted: Measuring) -> Measured:
    """Run forms side by side on this node.

    Args:
        files: content by path inside a package.
        variants: the forms; their numbers are not looked at.
        wanted: what to find out.
    """
    with scratch() as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        runners, failed = _opened(folder, variants, wanted)
        scores, golden = {}, {}
        if wanted.with_scores:
            scores = {name: predict(runner, wanted.tensors) for name, runner in runners.items()}
            for name in [name for name, found in scores.items() if not np.isfinite(found).all()]:
                failed[name] = f"{_num_bad(scores.pop(name)):,} held-out rows are answered with NaN or infinity"
                del runners[name]
            golden = {name: runner(wanted.golden) for name, runner in runners.items() if wanted.golden}
        memory_mb = {
            variant.name: resident_mb(folder, variant, wanted.tensors, wanted.num_threads)
            for variant in variants
            if wanted.with_memory and variant.name in runners
        }
        latency = measure_latency(runners, wanted.tensors, wanted.budget_s, wanted.batch_sizes)
        return Measured(this_machine(), scores, golden, latency, memory_mb, failed)


def _opened(
    folder: Path, variants: Sequence[Variant], wanted: Measuring
) -> tuple[dict[str, Runner], dict[str, str]]:  # fmt: skip
    runners: dict[str, Runner] = {}
    failed: dict[str, str] = {}
    first = {name: values[:2] for name, values in wanted.tensors.items()}
    for variant in variants:
        try:
            runner = open_runner(folder, variant, wanted.num_threads)
            runner(first)
            runners[variant.name] = runner
        except Exception as error:  # runtimes' own classes share no base; one form that fails must not end the others
            failed[variant.name] = error.message if isinstance(error, UserError) else _first_line(error)
    return runners, failed


def _num_bad(scores: np.ndarray) -> int:
    return int((~np.isfinite(scores.reshape(len(scores), -1))).any(axis=1).sum())


def predict(runner: Runner, tensors: Tensors) -> np.ndarray:
    """Scores of all rows, in batches as serving makes them."""
    num_rows = len(next(iter(tensors.values())))
    return np.concatenate(
        [
            runner({name: values[start : start + SCORING_BATCH] for name, values in tensors.items()})
            for start in range(0, num_rows, SCORING_BATCH)
        ]
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
