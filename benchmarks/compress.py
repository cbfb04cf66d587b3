"""Compressed forms of three models, and what people use today, side by side on one thread of this machine.

    python -m benchmarks.compress [--adult adult-train.csv --adult-test adult-test.csv] [--only mlp,resnet,transformer]

An MLP (3 x 1,024), a ResNet-18 on 32x32 pixels, a Transformer of six layers; each trained here, compressed by
`training.compress`, and measured once more beside its peers, all in turn. The last line is JSON:

    mlp_speedup_b1    one row: median of eager fp32 over that of the chosen form of the MLP
    mlp_size_ratio    bytes of the fp32 file over those of the chosen form of the MLP
    quality_drop      the most that a chosen form loses of the held-out accuracy
    chosen_is_best    no form that keeps the score beats a chosen one by more than noise, measured anew
    resnet_static     32 rows: median of the ResNet's fp32 ONNX Runtime over that of its best static int8

Needs the `bench` extra, and a C++ compiler for torch.compile: pip install -e ".[bench]" -c constraints.txt
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.compress_models import METRIC, Subject, mlp, resnet, trained, transformer
from benchmarks.compress_peers import EAGER, Peer, peers_of
from training.compress.compress import compress
from training.compress.gate.candidate import Candidate, beats
from training.compress.job import CompressResult, Job
from training.compress.measure.latency import measure_latency
from training.compress.tasks import predict
from training.package.machine import describe_machine
from training.package.manifest import Cost, Latency
from training.package.runtime import Runner, open_runner
from training.progress import HandedOn, Silent

BATCH_SIZES = (1, 8, 32)
CHECKED = "again"


@dataclass(frozen=True)
class Row:
    """One form, or one peer."""

    name: str
    latency: dict[str, Latency]
    num_bytes: int
    accuracy: float
    is_peer: bool
    note: str = ""


def main() -> None:
    """Run what is asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adult", help="Adult's training file; without it a made-up table like it")
    parser.add_argument("--adult-test", help="its test file")
    parser.add_argument("--only", default="mlp,resnet,transformer")
    parser.add_argument("--budget-s", type=float, default=4.0, help="seconds of measuring for each batch size")
    parser.add_argument("--tiny", action="store_true", help="small models, to see that it works")
    parser.add_argument("--learned", action="store_true", help="also prune and distil the MLP and the ResNet")
    arguments = parser.parse_args()
    print(f"{describe_machine()}; one thread; torch {torch.__version__}\n")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for subject in _subjects(arguments, Path(scratch)):
            figures[subject.name] = _subject(subject, arguments, Path(scratch) / subject.name)
    print(json.dumps(_summary(figures)))


def _subjects(arguments: argparse.Namespace, folder: Path) -> list[Subject]:
    wanted = arguments.only.split(",")
    found = []
    if "mlp" in wanted:
        found.append(mlp(folder, arguments.adult, arguments.adult_test))
    if "resnet" in wanted:
        found.append(resnet(folder, *((8, 1) if arguments.tiny else (64, 3))))
    if "transformer" in wanted:
        found.append(transformer(folder, *((32, 1) if arguments.tiny else (256, 20))))
    return found


def _subject(subject: Subject, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    settings: dict[str, Any] = {"measure_s": arguments.budget_s / 4}
    if arguments.learned and subject.name != "transformer":
        settings |= {"prune": {"sparsity": [0.5], "epochs": 2}, "distil": {"trials": 3, "epochs": 2}}
    torch.set_num_threads(os.cpu_count() or 1)
    began = time.perf_counter()
    job, model = trained(subject, settings)
    print(f"## {subject.name}: {subject.data}; trained in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    result = compress(job, Told())
    seconds = time.perf_counter() - began
    torch.set_num_threads(1)
    rows, failed = _measured(job, model, result, folder, arguments.budget_s)
    _show(rows, result, failed, len(job.held_out), seconds)
    return _figures(rows, result, job)


class Told(HandedOn):
    """Says what is done."""

    def __init__(self) -> None:
        super().__init__(Silent())

    def step(self, done: float, total: float, text: str) -> None:
        """A line."""
        print(f"   {text}", flush=True)


def _measured(
    job: Job, model: torch.nn.Module, result: CompressResult, folder: Path, budget_s: float
) -> tuple[list[Row], list[str]]:
    """All forms and peers in turn, in this process."""
    for path, content in result.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    scoring = job.trained.scoring(model)
    peers, failed = peers_of(scoring, folder / "variants/fp32.onnx", job.calibration, folder)
    forms: dict[str, Runner] = {variant.name: open_runner(folder, variant, 1) for variant in result.variants}
    runners: dict[str, Peer | Runner] = {**peers, **forms}
    latency = measure_latency(runners, job.held_out.tensors, budget_s, BATCH_SIZES)
    rows = [
        Row(name, latency[name], getattr(peer, "num_bytes", 0), _accuracy(job, peer), is_peer=True)
        for name, peer in peers.items()
    ]
    return rows + [
        Row(variant.name, latency[variant.name], variant.size_bytes, variant.metrics[f"test/{METRIC}"], is_peer=False,
            note=variant.note)
        for variant in result.variants
    ], failed  # fmt: skip


def _accuracy(job: Job, peer: Peer) -> float:
    return job.held_out.scores_of(predict(peer, job.held_out.tensors))[METRIC]


def _show(rows: list[Row], result: CompressResult, failed: list[str], num_rows: int, seconds: float) -> None:
    print(f"   compressed in {seconds:.0f} s; accuracy on {num_rows:,} held-out rows; times in ms, p50 / p99\n")
    print("| form | 1 row | 8 rows | 32 rows | KiB | accuracy |\n| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        times = " | ".join(f"{row.latency[str(n)].p50_ms:.3g} / {row.latency[str(n)].p99_ms:.3g}" for n in BATCH_SIZES)
        name = f"**{row.name}**" if row.name == result.chosen else row.name
        print(f"| {name} | {times} | {row.num_bytes / 1024:,.0f} | {row.accuracy:.4f} |")
    print(f"\nchosen: {result.chosen}: {result.reason}")
    for name, reason in result.not_made.items():
        print(f"not made: {name}: {reason}")
    for reason in failed:
        print(f"peer failed: {reason}")
    print(flush=True)


def _figures(rows: list[Row], result: CompressResult, job: Job) -> dict[str, Any]:
    by_name = {row.name: row for row in rows}
    chosen, fp32, eager = by_name[result.chosen], by_name["fp32"], by_name[EAGER]
    return {
        "speedup_b1": eager.latency["1"].p50_ms / chosen.latency["1"].p50_ms,
        "speedup_b1_of_onnxruntime": fp32.latency["1"].p50_ms / chosen.latency["1"].p50_ms,
        "size_ratio": fp32.num_bytes / chosen.num_bytes,
        "drop": fp32.accuracy - chosen.accuracy,
        "chosen": result.chosen,
        "is_best": _is_best(rows, result, job),
        "static_b32": max(
            (fp32.latency["32"].p50_ms / row.latency["32"].p50_ms for row in rows if "int8_static" in row.name),
            default=None,
        ),
    }


def _is_best(rows: list[Row], result: CompressResult, job: Job) -> bool:
    """Whether nothing that passed beats the choice, by what was measured just now."""
    latency = {row.name: row.latency for row in rows}
    again = {
        variant.name: Candidate(variant, Cost(latency=latency[variant.name]))
        for variant in result.variants
        if variant.name in result.comparison.passed
    }
    chosen, baseline = again[result.chosen], again["fp32"]
    better = [name for name, each in again.items() if beats(each, chosen, job.config) and _keeps_pace(each, baseline)]
    for name in better:
        print(f"   {CHECKED}: {name} beats {result.chosen}")
    return not better


def _keeps_pace(candidate: Candidate, baseline: Candidate) -> bool:
    """Also a part of the gate: 32 rows may take it no longer."""
    many = "32"
    return candidate.cost.latency[many].p50_ms <= 1.05 * baseline.cost.latency[many].p50_ms


def _summary(figures: dict[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    if "mlp" in figures:
        summary |= {
            "mlp_speedup_b1": round(figures["mlp"]["speedup_b1"], 2),
            "mlp_size_ratio": round(figures["mlp"]["size_ratio"], 2),
        }
    summary["quality_drop"] = round(max(found["drop"] for found in figures.values()), 5)
    summary["chosen_is_best"] = all(found["is_best"] for found in figures.values())
    if figures.get("resnet", {}).get("static_b32"):
        summary["resnet_static"] = round(figures["resnet"]["static_b32"], 2)
    return summary | {"chosen": {name: found["chosen"] for name, found in figures.items()}}


if __name__ == "__main__":
    main()
