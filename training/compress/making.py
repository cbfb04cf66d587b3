"""Making the forms: models that must be trained, then number formats of each. What cannot be made says why."""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from training.compress.forms.weights import weights_quantized_fraction
from training.compress.job import Job
from training.compress.learned.around import Base
from training.compress.learned.prune import pruned_name
from training.compress.recipe import FP32, Learn, Recipe, learned, recipes_of
from training.compress.site import Site, site_of
from training.compress.tasks import Left, Made, learn, made_of, make
from training.event_text import listed
from training.package.manifest import Variant
from training.progress import Progress


@dataclass
class Forms:
    """What was made so far; it grows."""

    variants: dict[str, Variant] = field(default_factory=dict)  # without what is measured of them
    files: dict[str, bytes] = field(default_factory=dict)  # by path inside a package
    not_made: dict[str, str] = field(default_factory=dict)  # what could not be made, and why

    def drop(self, name: str, reason: str) -> None:
        """Forget one that does not run."""
        del self.variants[name]
        self.not_made[name] = reason
        in_use = {variant.file for variant in self.variants.values()}
        self.files = {path: content for path, content in self.files.items() if path in in_use}


class Maker:
    """Makes models and their forms where the settings say."""

    def __init__(self, job: Job, progress: Progress, site: Site) -> None:
        self._job, self._config, self._progress, self._site = job, job.config, progress, site
        # Formats are made without data; it would travel to every node for nothing.
        self._trained, self._calibration = site.share(replace(job.trained, prepared=None)), site.share(job.calibration)
        self._models: dict[tuple[str, ...], Made] = {}
        self.forms = Forms(
            {variant.name: variant for variant in job.kept.variants}, dict(job.kept.files), {}
        )  # fmt: skip

    @property
    def students(self) -> tuple[dict[str, object], ...]:
        """What a distillation tried."""
        return tuple(student for made in self._models.values() for student in made.tried)

    def make_all(self) -> None:
        """The model as trained, those that are trained smaller, and every number format of each.

        Raises ExportFailed where the model as trained cannot be written as ONNX.
        """
        self._models[()] = self._as_trained()
        self._models |= self._kept_models()
        self._learn([each for each in learned(self._config) if not self._is_kept(each)])
        recipes = [(steps, recipe) for steps in self._models for recipe in self._recipes(steps)]
        self._make(recipes)

    def make_rounding_aware(self, steps: tuple[str, ...], form: Literal["int8", "int8_static"]) -> list[str]:
        """Tune one model to a rounding, and make that format of it again; gives the new forms' names."""
        before = set(self.forms.variants)
        self._learn([Learn(rounds=form)], self._models[steps] if steps else None)
        if (tuned := (*steps, "qat")) in self._models:
            self._make([(tuned, recipe) for recipe in self._recipes(tuned) if recipe.form == form])
        return [name for name in self.forms.variants if name not in before]

    def can_round(self, steps: tuple[str, ...]) -> bool:
        """Whether a model is at hand to be tuned further."""
        return self._can_learn and steps in self._models and bool(self._models[steps].pickled)

    def _kept_models(self) -> dict[tuple[str, ...], Made]:
        """Smaller models that a package has already, as far as their ONNX files go: other formats are made of these."""
        num = self._models[()].num_weights
        return {
            each.steps[:-1]: Made(
                each.steps[:-1], self._job.kept.files[each.file], b"", round(num * (1 - each.weights_removed_fraction))
            )
            for each in self._job.kept.variants
            if each.runtime == "onnxruntime" and len(each.steps) > 1 and each.steps[-1] == FP32
        }

    def _is_kept(self, wanted: Learn) -> bool:
        """Whether a package has such a model already. A student's name tells its size, which is not known before."""
        if wanted.distils and wanted.sparsity is None:
            return any(steps and steps[0].startswith("distilled-") for steps in self._models)
        return tuple(name_of(wanted, self._job).split("+")) in self._models

    @property
    def _can_learn(self) -> bool:
        return self._job.can_rebuild and self._job.trained.prepared is not None

    def _as_trained(self) -> Made:
        """The fp32 file that a package has already is kept; golden rows of other forms hold for it."""
        kept = self._job.kept.files.get(Recipe().file)
        if not self._job.can_rebuild:
            assert kept is not None, "there is a module or a file"
            return Made((), kept)
        model = self._job.trained.module()
        return made_of(self._job.trained, Base(model), onnx=kept)

    def _learn(self, wanted: Sequence[Learn], start: Made | None = None) -> None:
        if not wanted:
            return
        if not self._can_learn:
            reason = "the model's own code, or its data, is not at hand"
            self.forms.not_made |= {name_of(each, self._job): reason for each in wanted}
            return
        site = site_of(self._config, learns=True)
        trained = site.share(self._job.trained)
        self._progress.step(0, len(wanted), f"training {listed([name_of(each, self._job) for each in wanted])}")
        device: Literal["cpu", "cuda"] = "cuda" if self._config.device == "gpu" else "cpu"
        calls = [(trained, each, start, device) for each in wanted]
        found = site.run(learn, calls, num_cpus=self._job.trained.experiment.train.cpus_per_worker)
        for each, made in zip(wanted, found, strict=True):
            if isinstance(made, Left):
                self.forms.not_made[name_of(each, self._job)] = made.reason
            else:
                self._models[made.steps] = made

    def _recipes(self, steps: Collection[str]) -> list[Recipe]:
        found = recipes_of(
            tuple(steps), self._config, has_openvino=find_spec("openvino") is not None, has_module=self._job.can_rebuild
        )
        return [recipe for recipe in found if recipe.name not in self.forms.variants]

    def _make(self, recipes: Sequence[tuple[tuple[str, ...], Recipe]]) -> None:
        """Files first, each once; then the forms that use them."""
        for steps, recipe in recipes:
            if recipe.form == FP32 and recipe.runtime == "onnxruntime":
                self.forms.files[recipe.file] = self._models[steps].onnx
        todo: dict[str, tuple[tuple[str, ...], Recipe]] = {}
        for steps, recipe in recipes:
            if recipe.file not in self.forms.files:
                todo.setdefault(recipe.file, (steps, recipe))
        models = {steps: self._site.share(self._models[steps]) for steps, _ in todo.values()}
        calls = [(self._trained, models[steps], recipe, self._calibration) for steps, recipe in todo.values()]
        if calls:
            self._progress.step(0, len(calls), f"making {listed([recipe.name for _, recipe in todo.values()])}")
        made = self._site.run(make, calls, num_cpus=1) if calls else []
        reasons = {}
        for path, content in zip(todo, made, strict=True):
            if isinstance(content, Left):
                reasons[path] = content.reason
            else:
                self.forms.files[path] = content
        for steps, recipe in recipes:
            if recipe.file in self.forms.files:
                self.forms.variants[recipe.name] = self._draft(steps, recipe)
            else:
                self.forms.not_made[recipe.name] = reasons[recipe.file]

    def _draft(self, steps: tuple[str, ...], recipe: Recipe) -> Variant:
        content = self.forms.files[recipe.file]
        before = self._models[()].num_weights
        removed = 1 - self._models[steps].num_weights / before if steps and before else 0.0
        return Variant(
            name=recipe.name, file=recipe.file, runtime=recipe.runtime, device=recipe.device,
            steps=recipe.variant_steps, size_bytes=len(content), metrics={}, latency={},
            weights_quantized_fraction=_quantized(content, recipe.file), weights_removed_fraction=max(0.0, removed),
            tolerance=0.0, offered=False,
        )  # fmt: skip


def name_of(wanted: Learn, job: Job) -> str:
    """What a model that is to be trained is called, before it is there."""
    prune = job.config.prune
    pruned = pruned_name(prune.kind, wanted.sparsity) if prune and wanted.sparsity is not None else ""
    other = "qat" if wanted.rounds else ("taught" if pruned else "distilled") if wanted.distils else ""
    return "+".join(part for part in (pruned, other) if part)


def _quantized(content: bytes, file: str) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / Path(file).name
        path.write_bytes(content)
        return weights_quantized_fraction(path)


def content_of(files: Mapping[str, bytes], variants: Sequence[Variant]) -> dict[str, bytes]:
    """The files of some forms."""
    return {variant.file: files[variant.file] for variant in variants}
