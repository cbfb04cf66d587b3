"""From a torch module to one self-contained ONNX file that gives scores, not logits.

Shape letters: N rows, K classes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from training.compress.errors import ExportFailed, NotMade
from training.compress.forms.branches import graphs_within
from training.compress.forms.files import save_onnx
from training.compress.forms.tracing import as_tensors, at_least_two, cause, free_axes
from training.compress.forms.wide import has_wide_weights, in_32_bits
from training.compress.quiet import quiet
from training.package.byte_tokens import FIRST_BYTE, PAD
from training.package.manifest import Task
from training.package.runtime import OUTPUT_NAME, VariantRunner

OPSET = 18  # what torch's exporter writes natively; read by every onnxruntime in the pinned range
EXPORT_TOLERANCE = 1e-3  # in probabilities, or in standard deviations of the target; kernels differ by about 1e-6
FLOAT32_STEPS = 2  # of the largest answer, besides: the last step rounds it twice, and far from 0 that is much


class ScoringModel(nn.Module):
    """A model and the last step of its answer: softmax, back to the target's own unit, or how likely a text is."""

    def __init__(self, model: nn.Module, task: Task, target_mean: float = 0.0, target_scale: float = 1.0) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.target_mean, self.target_scale = target_mean, target_scale

    def forward(self, *tensors: Tensor) -> Tensor:
        """Probabilities (N, K); predictions (N,) for a regression; mean log-likelihood a byte (N,) of texts."""
        if self.task == "language_modelling":
            return self._log_likelihood(*tensors)
        logits = self.model(*tensors)
        if self.task == "classification":
            return torch.softmax(logits.float(), dim=-1)
        if self.task == "multilabel":
            return torch.sigmoid(logits.float())
        return logits.float().squeeze(-1) * self.target_scale + self.target_mean

    def _log_likelihood(self, tokens_NWL: Tensor) -> Tensor:
        """Of texts (N,), in windows that overlap by one token, see `windows_of`."""
        seen_ML = tokens_NWL[:, :, :-1].flatten(0, 1)
        following_NWL = tokens_NWL[:, :, 1:]
        log_p_MLV = torch.log_softmax(self.model(seen_ML).float(), dim=-1)
        right_ML = log_p_MLV.gather(2, following_NWL.flatten(0, 1).unsqueeze(2)).squeeze(2)
        right_NWL = torch.where(following_NWL != PAD, right_ML.view_as(following_NWL), 0.0)
        num_bytes_N = (following_NWL >= FIRST_BYTE).sum(dim=(1, 2)).clamp_min(1)
        return right_NWL.sum(dim=(1, 2)) / num_bytes_N


def export_onnx(
    model: nn.Module,
    example: Mapping[str, np.ndarray],
    *,
    task: Task,
    target_mean: float,
    target_scale: float,
    path: Path,
) -> None:
    """Write `model` as ONNX and compare it with torch on the example, at one row and at all of them.

    Weights of 64 bits are written with 32, unless the answers need more.

    Args:
        model: called with the example's tensors in their order; gives logits (N, K), or (N, 1) for a regression.
        example: tensors by name, some rows of each; the names become the graph's inputs, the first axis is free.
        task: what the output means.
        target_mean: of the training target; of a regression only.
        target_scale: likewise, its standard deviation.
        path: file to write; weights are inside it.

    Raises:
        ExportFailed: torch cannot export the model, the exported one answers differently, or an answer is no number.
    """
    scoring = ScoringModel(copy.deepcopy(model).cpu(), task, target_mean, target_scale).eval()
    rows = at_least_two(example, task)
    proto = _traced(scoring, rows)
    if has_wide_weights(proto.graph):
        try:
            _write(scoring, in_32_bits(proto), rows, path)
        except ExportFailed:  # 32 bits are too few for it, or it fails as it is too, which is told below
            _write(scoring, proto, rows, path)
    else:
        _write(scoring, proto, rows, path)


def _write(scoring: ScoringModel, proto: onnx.ModelProto, rows: Mapping[str, np.ndarray], path: Path) -> None:
    try:
        save_onnx(proto, path)
    except NotMade as error:
        raise ExportFailed(f"{_name(scoring)} cannot be exported to ONNX: {error.message}") from error
    answers = _answers(scoring, rows, path)
    _check_numbers(scoring, answers)
    for answer in answers:
        _check_close(scoring, answer)


def _traced(scoring: ScoringModel, rows: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                scoring,
                as_tensors(rows),
                input_names=list(rows),
                output_names=[OUTPUT_NAME],
                dynamic_shapes=free_axes(rows, scoring.task),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            assert program is not None, "the dynamo exporter returns a program"
            proto: onnx.ModelProto = program.model_proto
    except Exception as error:  # the exporter's own classes, and whatever the model raises while it is traced
        raise ExportFailed(
            f"{_name(scoring)} cannot be exported to ONNX: {cause(error)}",
            "forward() must be traceable by torch.export: no branch on values, no fixed number of rows, no numpy",
        ) from error
    _strip_traces(proto)
    return proto


def _strip_traces(proto: onnx.ModelProto) -> None:
    """Remove the notes of torch's exporter: they hold source lines and the paths of this machine."""
    del proto.metadata_props[:]
    for graph in graphs_within(proto.graph):
        for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            del part.metadata_props[:]


@dataclass(frozen=True)
class _Answer:
    """To the same rows."""

    num_rows: int
    by_torch: np.ndarray
    by_onnx: np.ndarray


def _answers(scoring: ScoringModel, rows: Mapping[str, np.ndarray], path: Path) -> list[_Answer]:
    """To the first row alone, and to all of them."""
    runner = VariantRunner(path)
    found: list[_Answer] = []
    for num in (1, len(next(iter(rows.values())))):
        part = {name: values[:num] for name, values in rows.items()}
        try:
            with quiet(), torch.no_grad():
                found.append(_Answer(num, scoring(*as_tensors(part)).numpy(), runner(part)))
        except Exception as error:  # the model's own, or onnxruntime's, whose classes share no public base
            raise ExportFailed(
                f"{_name(scoring)} fails on {_count(num)}: {cause(error)}", "a model must take any number of rows"
            ) from error
    return found


def _check_numbers(scoring: ScoringModel, answers: list[_Answer]) -> None:
    alone, together = answers
    if num_bad := _num_bad(together.by_torch):
        raise ExportFailed(
            f"{_name(scoring)} answers NaN or infinity on {num_bad} of {_count(together.num_rows)}",
            "look in forward() for a division, a logarithm or a root of what may be 0, and for weights that are NaN",
        )
    if _num_bad(alone.by_torch):
        raise ExportFailed(
            f"{_name(scoring)} answers NaN or infinity on a row that comes alone",
            "a row's answer must not need other rows, as a deviation over rows does",
        )


def _num_bad(scores: np.ndarray) -> int:
    return int((~np.isfinite(scores)).any(axis=tuple(range(1, scores.ndim))).sum())


def _check_close(scoring: ScoringModel, answer: _Answer) -> None:
    got, expected = answer.by_onnx, answer.by_torch
    scale = scoring.target_scale if scoring.task == "regression" else 1.0
    step = float(np.spacing(np.float32(np.abs(expected).max(initial=0.0))))
    allowed = EXPORT_TOLERANCE * scale + FLOAT32_STEPS * step
    if got.shape != expected.shape or not np.allclose(got, expected, rtol=0.0, atol=allowed):
        raise ExportFailed(
            f"{_name(scoring)} answers differently as ONNX than in torch on {_count(answer.num_rows)}: "
            f"{_gap(got, expected)}",
            "forward() must not depend on randomness or on state outside the module",
        )


def _gap(got: np.ndarray, expected: np.ndarray) -> str:
    if got.shape != expected.shape:
        return f"shape {got.shape}, torch gives {expected.shape}"
    if num_bad := _num_bad(got):
        return f"NaN or infinity on {num_bad} of them, where torch gives numbers"
    return f"by up to {np.abs(got - expected).max():.3g}"


def _count(num_rows: int) -> str:
    return "1 row" if num_rows == 1 else f"{num_rows} rows"


def _name(scoring: ScoringModel) -> str:
    return type(scoring.model).__name__
