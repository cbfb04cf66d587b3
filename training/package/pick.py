"""Which variant answers on a machine: decided from the manifest and from what the machine has, touching nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from training.package.errors import PackageError
from training.package.machine import Machine
from training.package.manifest import BASELINE, Comparison, Manifest, Variant

_OF_HALF = ("avx512_bf16", "avx512_fp16", "amx_bf16", "bf16")  # they do nothing for whole numbers
WhyNot = Callable[[Variant], str]  # why a variant cannot run here; empty where it can


@dataclass(frozen=True)
class Picked:
    """A variant, and why this one, in one sentence."""

    variant: Variant
    reason: str


def pick_variant(manifest: Manifest, machine: Machine, why_not: WhyNot, name: str | None = None) -> Picked:
    """The variant that was chosen for machines like this one; fp32 where what was chosen does not hold here.

    Args:
        manifest: of the package.
        machine: where it will answer.
        why_not: what runs there.
        name: the variant that is asked for; None leaves it to the measurements.

    Raises:
        PackageError: there is no such variant, it cannot run here, or none can.
    """
    if name is not None:
        return _asked_for(manifest, why_not, name)
    refused: dict[str, str] = {}
    if (measured := _measured_on(machine, manifest)) is not None:
        for ranked in measured.ranking or (measured.chosen,):
            variant = _named(manifest, ranked)
            refused[ranked] = why_not(variant)
            if not refused[ranked]:
                return Picked(variant, _why_ranked(ranked, measured, refused))
    chosen = _named(manifest, manifest.chosen)
    if chosen.name not in refused:
        refused[chosen.name] = why_not(chosen) or _why_not_as_measured(chosen, machine)
        if not refused[chosen.name]:
            return Picked(chosen, f"{chosen.name} is the package's choice: {manifest.chosen_reason}")
    return _baseline(manifest, why_not, refused)


def _why_ranked(name: str, measured: Comparison, refused: dict[str, str]) -> str:
    if name == measured.chosen:
        return f"{name} is the choice for machines like this one: {measured.reason}"
    said = "; ".join(f"{other}: {reason}" for other, reason in refused.items() if reason)
    return f"{name} is the next best on machines like this one ({said})"


def _baseline(manifest: Manifest, why_not: WhyNot, refused: dict[str, str]) -> Picked:
    said = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    names = [variant.name for variant in manifest.variants]
    baseline = _named(manifest, BASELINE if BASELINE in names else names[0])
    if reason := why_not(baseline):
        others = said if baseline.name in refused else f"{said}; {baseline.name}: {reason}"
        able = [name for name in names if not why_not(_named(manifest, name))]
        raise PackageError(f"{manifest.name} cannot answer here: {others}", _hint(able))
    return Picked(baseline, f"{said}; so {baseline.name} answers")


def _asked_for(manifest: Manifest, why_not: WhyNot, name: str) -> Picked:
    variant = _named(manifest, name)
    if reason := why_not(variant):
        able = [other.name for other in manifest.variants if not why_not(other)]
        raise PackageError(f"the variant {name} of {manifest.name} cannot run here: {reason}", _hint(able))
    return Picked(variant, f"{name} was asked for")


def _named(manifest: Manifest, name: str) -> Variant:
    try:
        return manifest.variant(name)
    except KeyError:
        known = ", ".join(known.name for known in manifest.variants)
        raise PackageError(f"{manifest.name} has no variant {name!r}; it has {known}") from None


def _measured_on(machine: Machine, manifest: Manifest) -> Comparison | None:
    """The newest comparison on a machine like this one."""
    alike = (comparison for comparison in reversed(manifest.comparisons) if comparison.machine.is_alike(machine))
    return next(alike, None)


def _why_not_as_measured(variant: Variant, machine: Machine) -> str:
    """Why what was measured of a variant does not hold here; empty where it does, or where nothing was recorded.

    Rounded weights are another matter than fp32: without the products that they were measured with they are slower, and
    on AVX2 alone their sums saturate, so that the answers differ, too.
    """
    if variant.machine is None or (variant.runtime == "onnxruntime" and variant.weights_quantized_fraction == 0):
        return ""
    there, here = variant.machine, machine.instruction_sets
    if variant.device == "cuda":
        return (
            "" if there.gpu == machine.gpu else f"it was measured on {there.gpu}, and here is {machine.gpu or 'no GPU'}"
        )
    if there.arch != machine.arch:
        return f"it was measured on {there.arch}, and this machine is {machine.arch}"
    is_half = any(form in variant.name for form in ("bf16", "fp16"))
    counting = [name for name in there.instruction_sets if is_half or name not in _OF_HALF]
    if lacking := [name for name in counting if name not in here]:
        return f"it was measured with {', '.join(lacking)}, which this machine lacks"
    return ""


def _hint(able: list[str]) -> str:
    return f"here can run: {', '.join(able)}" if able else "serve it on a machine like the one it was measured on"
