"""From the best model to its forms: make them, judge them, measure them side by side, choose one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from training.compress.errors import NoBaseline
from training.compress.gate.candidate import Candidate, beats, value
from training.compress.gate.choose import Decision, choose, loss
from training.compress.gate.quality import Judge
from training.compress.gate.slice_scores import slice_scores_of
from training.compress.job import CompressResult, Job
from training.compress.making import Maker, content_of
from training.compress.measure.price import usd_per_million
from training.compress.recipe import FP32, Recipe
from training.compress.site import site_of
from training.compress.tasks import Measured, Measuring, measure
from training.compress_config import LabelTarget
from training.event_text import listed
from training.package.manifest import BASELINE, Comparison, Cost, Quality, Variant
from training.progress import Progress

FP32_TOLERANCE = 1e-4  # other CPUs sum in another order; 100 times what was seen between AVX2 and AVX-512
ROUNDED_TOLERANCE = 1e-3  # a rounding that falls the other way moves an answer by about one level of one layer
MAX_ROUNDED_TOLERANCE = 0.05
STEPS = 2  # of float32, in which two machines may round differently
COARSE = 0.01  # share of a target's deviation; a float32 step of more leaves little to tell
FEW_ROWS = 200
NEAR = 1.5  # times the best value: what may be the best is measured again, with less beside it
ROUNDED: tuple[Literal["int8", "int8_static"], ...] = ("int8", "int8_static")


def compress(job: Job, progress: Progress) -> CompressResult:
    """Make the forms that the settings ask for, judge and measure them, and choose one.

    Raises:
        ExportFailed: the model as trained cannot be written as ONNX.
        CapacityError: no node of the target's kind can do it.
    """
    return _Compression(job, progress).result()


class _Compression:
    """One execution: the forms there are, and what was found of them."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job, self._config, self._progress = job, job.config, progress
        self._site = site_of(job.config)
        self._maker = Maker(job, progress, self._site)
        self._forms = self._maker.forms
        self._baseline = BASELINE
        self._found: Measured | None = None
        self._candidates: list[Candidate] = []
        self._scores: dict[str, dict[str, float]] = {}  # all of them, by form
        self._qualities: dict[str, Quality] = {}  # against the baseline, by form
        self._elsewhere: dict[str, str] = {}  # forms of the package that do not run here, and why

    def result(self) -> CompressResult:
        """All of it, in order."""
        for doubt in doubts(self._job):
            self._progress.note(doubt)
        self._maker.make_all()
        self._look_at(list(self._forms.variants))
        decision = choose(self._candidates, self._config)
        if new := self._rounding_aware(decision):
            self._look_at(new)
        near = self._compare_again()
        return self._result(choose(self._candidates, self._config, near))

    def _look_at(self, names: Sequence[str]) -> None:
        """Score and measure forms; those that do not run are left out."""
        variants = [self._forms.variants[name] for name in names]
        self._progress.step(0, len(variants), f"measuring {listed(names)}")
        found = self._measured(variants, with_scores=True)
        for name, reason in found.failed.items():
            self._leave_out(name, reason)
        self._found = found if self._found is None else _joined(self._found, found)
        on_device = Recipe((), FP32, "torch", "cuda").name
        self._baseline = on_device if on_device in self._found.scores else BASELINE
        self._judge()
        self._weigh()

    def _leave_out(self, name: str, reason: str) -> None:
        """A new form that does not run is none; one that a package has stays, unmeasured here."""
        if name == BASELINE:
            raise NoBaseline(
                f"the model as trained answers nothing to hold other forms against: {reason}",
                "see to these rows, or to what the model makes of extreme values",
            )
        if name in self._job.kept.names:
            self._elsewhere[name] = reason
        else:
            self._forms.drop(name, f"it does not run here: {reason}")

    def _compare_again(self) -> frozenset[str] | None:
        """Side by side once more, what may be the best: the less runs beside it, the clearer the difference.

        Gives the names of these forms; None where the objective is not measured by time.
        """
        if self._config.objective == "size":
            return None
        right = [each for each in self._candidates[1:] if not loss(each, self._config)]
        near = [each.variant for each in right if self._is_near(each, right)]
        if near:
            self._progress.step(0, len(near), f"measuring again {listed([variant.name for variant in near])}")
            again = self._measured([self._candidates[0].variant, *near], with_scores=False)
            assert self._found is not None
            self._found = _joined(self._found, again)
            self._weigh()
        return frozenset(variant.name for variant in near)

    def _is_near(self, one: Candidate, others: Sequence[Candidate]) -> bool:
        """Whether it may be the best, by the objective or, where that was disturbed, by its median."""
        by_median = self._config.model_copy(update={"objective": "latency_p50"})
        return any(
            value(one, config) <= NEAR * min(value(other, config) for other in others)
            for config in (self._config, by_median)
        )

    def _measured(self, variants: Sequence[Variant], *, with_scores: bool) -> Measured:
        job = self._job
        wanted = Measuring(
            job.held_out.tensors, job.golden, job.num_threads, self._config.measure_s, with_scores=with_scores,
            with_memory=with_scores,
        )  # fmt: skip
        call = (content_of(self._forms.files, variants), tuple(variants), self._site.share(wanted))
        (found,) = self._site.run(measure, [call], num_cpus=job.num_threads)
        return found

    def _judge(self) -> None:
        """Hold forms that are new against the baseline; what one loses does not change when it is timed again."""
        found, job = self._found, self._job
        assert found is not None
        new = [name for name in self._measured_names if name not in self._scores]
        self._scores |= {name: job.held_out.scores_of(found.scores[name]) for name in new}
        judge = Judge(job.held_out, found.scores[self._baseline], job.metric, job.mode, self._config.slice_drop)
        self._qualities |= {name: judge.quality(found.scores[name]) for name in new if name != self._baseline}

    @property
    def _measured_names(self) -> list[str]:
        """The baseline first, and the others that run here."""
        others = [name for name in self._forms.variants if name not in (self._baseline, *self._elsewhere)]
        return [self._baseline, *others]

    def _weigh(self) -> None:
        """What is known of each form, the baseline first."""
        found, variants = self._found, self._forms.variants
        assert found is not None
        self._candidates = [
            Candidate(variants[name].model_copy(update={"quality": self._qualities.get(name)}), self._cost(found, name))
            for name in self._measured_names
        ]

    def _cost(self, found: Measured, name: str) -> Cost:
        price, latency = self._config.usd_per_hour, found.latency[name]
        usd = None
        if price is not None:
            on_gpu = self._forms.variants[name].device == "cuda"
            usd = usd_per_million(latency, found.machine, self._job.num_threads, price, on_gpu=on_gpu)
        return Cost(latency=latency, memory_mb=found.memory_mb.get(name), usd_per_million=usd)

    def _rounding_aware(self, decision: Decision) -> list[str]:
        """Tune to rounding where an int8 form would be chosen but for what it loses; gives the new forms' names."""
        if self._config.qat is None:
            return []
        if self._config.qat.when == "always":
            return [name for form in ROUNDED if form in self._config.formats
                    for name in self._maker.make_rounding_aware((), form)]  # fmt: skip
        chosen = next(each for each in self._candidates if each.name == decision.chosen)
        wanted = [
            each
            for each in self._candidates[1:]
            if each.variant.steps[-1:] and each.variant.steps[-1] in ROUNDED and each.is_compressed
            and loss(each, self._config) and beats(each, chosen, self._config)
            and self._maker.can_round(each.variant.steps[:-1])
        ]  # fmt: skip
        if not wanted:
            return []
        best = min(wanted, key=lambda each: value(each, self._config)).variant
        form = next(form for form in ROUNDED if form == best.steps[-1])
        return self._maker.make_rounding_aware(best.steps[:-1], form)

    def _result(self, decision: Decision) -> CompressResult:
        found, kept = self._found, self._job.kept.names
        assert found is not None
        new = {each.name: self._noted(each, decision, found) for each in self._candidates if each.name not in kept}
        variants = tuple(new.get(name, variant) for name, variant in self._forms.variants.items())
        return CompressResult(
            variants, decision.chosen, decision.reason, self._comparison(decision, found), self._forms.files,
            found.scores, found.golden, self._forms.not_made, tuple(self._maker.students),
            slice_scores_of(self._job.held_out, found.scores[decision.chosen], self._job.metric),
        )  # fmt: skip

    def _noted(self, candidate: Candidate, decision: Decision, found: Measured) -> Variant:
        variant, part = candidate.variant, self._job.held_out.part
        return variant.model_copy(update={
            "metrics": {f"{part}/{name}": score for name, score in self._scores[variant.name].items()},
            "latency": candidate.cost.latency,
            "tolerance": self._tolerance(variant, found),
            # The fp32 form for ONNX Runtime is what answers where no other can.
            "offered": variant.name in decision.passed or variant.name == BASELINE,
            "note": decision.notes[variant.name],
            "machine": found.machine,
        })  # fmt: skip

    def _tolerance(self, variant: Variant, found: Measured) -> float:
        """How far golden rows may be off on another machine, in the output's own unit.

        A rounded form may be off by as much as rounding itself changed the held-out answers, within bounds.
        """
        task, scale = self._job.trained.task, self._job.trained.target_scale
        unit = scale if task == "regression" else 1.0
        scores = found.scores[variant.name]
        exact = found.scores.get(Recipe(variant.steps[:-1]).name, found.scores[self._baseline])
        resolution = STEPS * float(np.spacing(np.float32(np.abs(exact).max())))  # counts where a target is far from 0
        if variant.steps[-1:] in ((FP32,), ()):
            return FP32_TOLERANCE * unit + resolution
        measured = float(np.abs(scores - exact).max()) / unit
        return unit * min(max(measured, ROUNDED_TOLERANCE), MAX_ROUNDED_TOLERANCE) + resolution

    def _comparison(self, decision: Decision, found: Measured) -> Comparison:
        config = self._config
        target = config.target
        words = ",".join(f"{k}={v}" for k, v in target.label.items()) if isinstance(target, LabelTarget) else target
        return Comparison(
            at=datetime.now(UTC).isoformat(timespec="seconds"), machine=found.machine, target=words,
            objective=config.objective, batch_size=config.batch_size, num_threads=self._job.num_threads,
            usd_per_hour=config.usd_per_hour, baseline=self._baseline,
            metric=f"{self._job.held_out.part}/{self._job.metric}",
            scores={name: self._scores[name][self._job.metric] for name in self._measured_names},
            # Of a new form it stands with the form.
            qualities={name: found for name, found in self._qualities.items() if name in self._job.kept.names},
            costs={each.name: each.cost for each in self._candidates}, passed=decision.passed, front=decision.front,
            notes=decision.notes | {name: f"not measured here: {why}" for name, why in self._elsewhere.items()},
            chosen=decision.chosen, reason=decision.reason, ranking=decision.ranking,
        )  # fmt: skip


def doubts(job: Job) -> list[str]:
    """What a person should know of how well forms can be judged."""
    num_rows, trained = len(job.held_out), job.trained
    said = []
    if num_rows < FEW_ROWS:
        said.append(f"only {num_rows} held-out rows judge: what forms lose is known to {1 / num_rows:.2g} at best")
    if trained.task == "regression" and (step := float(np.spacing(np.float32(trained.target_mean)))) > COARSE * abs(
        trained.target_scale
    ):
        said.append(
            f"the target lies about {trained.target_mean:.4g}, where float32 has steps of {step:.3g}: that is "
            f"{step / trained.target_scale:.0%} of how far it varies; take a constant off it"
        )
    return said


def _joined(before: Measured, after: Measured) -> Measured:
    """What was found last counts."""
    return Measured(
        after.machine, before.scores | after.scores, before.golden | after.golden, before.latency | after.latency,
        before.memory_mb | after.memory_mb, before.failed | after.failed,
    )  # fmt: skip
