"""Forms for GPUs: programs of `torch.export`, weights quantized by torchao. Nothing in their files is pickled.

All but fp32 compute the layers that are not quantized in half precision; the answer is made in fp32. Compiled where
they are loaded, see `training.package.runtimes.on_torch`.
"""

import copy
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch._functorch._aot_autograd.subclass_parametrization import unwrap_tensor_subclass_parameters

from training.compress.errors import NotMade
from training.compress.forms.export import ScoringModel
from training.compress.forms.files import written
from training.compress.forms.products import MIN_LAYER_WEIGHTS
from training.compress.forms.tracing import as_tensors, at_least_two, cause, free_axes
from training.compress.quiet import quiet
from training.package.machine import this_machine
from training.package.runtime import why_no_fp8
from training.package.runtimes.on_torch import TorchRunner
from training.package.runtimes.program import INPUTS_FILE

TORCH_FORMS = ("fp32", "bf16", "fp16", "int8", "int8_weights", "fp8")
Device = Literal["cpu", "cuda"]
MAX_FP16 = torch.finfo(torch.float16).max
SIZE_UNIT = 16  # int8 products on a GPU need widths of a multiple of 8, those of fp8 of 16


def make_torch_form(
    form: str, scoring: ScoringModel, example: Mapping[str, np.ndarray], target: Path, device: Device
) -> None:
    """Write one form of a model as a `.pt2` file, and call the file with one row and with all.

    Args:
        form: one of `TORCH_FORMS`.
        scoring: in fp32 on any device; left as it is.
        example: tensors by name in the model's order, some rows of each; the first axis becomes free.
        target: file to write, ending in `.pt2`.
        device: that it will run on; the program is made there, since operators differ.

    Raises:
        NotMade: this machine has no such GPU, no layer is large enough, a weight is larger than fp16 holds, or torch
            cannot trace the model.
        OSError: the file cannot be written; `target` is as it was.
    """
    assert form in TORCH_FORMS, form
    if device == "cuda" and not torch.cuda.is_available():
        raise NotMade("it is made on a GPU, and there is none here")
    if form == "fp8" and (reason := why_no_fp8(this_machine())):
        raise NotMade(reason)
    rows = at_least_two(example, scoring.task)
    model = _in_form(copy.deepcopy(scoring).to(device).eval(), form)
    program = _exported(model, rows, device)
    archive = io.BytesIO()  # torch tells of a full disk with an error that says something else
    with quiet():
        torch.export.save(program, archive, extra_files={INPUTS_FILE: json.dumps(list(rows))})
    with written(target) as path:
        path.write_bytes(archive.getbuffer())
        _check(path, rows, device)


class _Cast(nn.Module):
    """Numbers come as fp32 and are computed with as the weights are."""

    def __init__(self, scoring: ScoringModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.scoring, self.dtype = scoring, dtype

    def forward(self, *tensors: Tensor) -> Tensor:
        """Scores as of `ScoringModel`, fp32."""
        return self.scoring(*(each.to(self.dtype) if each.is_floating_point() else each for each in tensors)).float()


def _in_form(scoring: ScoringModel, form: str) -> nn.Module:
    if form == "fp32":
        return scoring
    dtype = torch.float16 if form == "fp16" else torch.bfloat16
    if form == "fp16":
        _check_range(scoring)
    scoring.model.to(dtype)
    if form in ("int8", "int8_weights", "fp8"):
        _quantize(scoring.model, form)
    return _Cast(scoring, dtype)


def _check_range(scoring: ScoringModel) -> None:
    for name, weight in scoring.model.named_parameters():
        largest = float(weight.detach().abs().max()) if weight.numel() else 0.0
        if largest > MAX_FP16:
            raise NotMade(f"{name} holds {largest:.4g}, and fp16 ends at {MAX_FP16:.0f}")


def _quantize(model: nn.Module, form: str) -> None:
    """In place, and tensors of torchao's own classes taken apart: as they are, they would be pickled."""
    with quiet():  # torchao tells of compiled extras that this build of torch has no use for
        try:
            from torchao.quantization import quantize_  # noqa: PLC0415  # an extra, and seconds to load
        except ImportError as error:
            raise NotMade("torchao is not installed: pip install 'manta[gpu]'") from error
        if not any(_is_large(module) for module in model.modules()):
            raise NotMade(
                f"it has no linear layer with {MIN_LAYER_WEIGHTS:,} weights or more and widths of a multiple of "
                f"{SIZE_UNIT}"
            )
        quantize_(model, _config(form), filter_fn=lambda module, _: _is_large(module))
        unwrap_tensor_subclass_parameters(model)


def _is_large(module: nn.Module) -> bool:
    if type(module) is not nn.Linear or module.weight.numel() < MIN_LAYER_WEIGHTS:
        return False
    return module.in_features % SIZE_UNIT == 0 and module.out_features % SIZE_UNIT == 0


def _config(form: str) -> Any:
    from torchao.quantization import (  # noqa: PLC0415  # an extra, and seconds to load
        Float8DynamicActivationFloat8WeightConfig,
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
        PerRow,
    )
    from torchao.quantization.quantize_.common import KernelPreference  # noqa: PLC0415  # the same

    # Inductor's settings are the whole process's, and a program is compiled in another one anyway.
    if form == "int8":
        return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
    if form == "int8_weights":
        return Int8WeightOnlyConfig(set_inductor_config=False)
    return Float8DynamicActivationFloat8WeightConfig(
        granularity=PerRow(),
        kernel_preference=KernelPreference.TORCH,  # others are chosen by what is installed where the file is made
        set_inductor_config=False,
    )


def _exported(model: nn.Module, rows: Mapping[str, np.ndarray], device: Device) -> torch.export.ExportedProgram:
    scoring = model.scoring if isinstance(model, _Cast) else model
    assert isinstance(scoring, ScoringModel)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(model, as_tensors(rows, device), dynamic_shapes=free_axes(rows, scoring.task))
    except Exception as error:  # torch's own classes, and whatever the model raises while it is traced
        raise NotMade(f"torch cannot export it: {cause(error)}") from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for note in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
                    node.meta.pop(note, None)  # source lines and paths of this machine
    # torch has no public way to leave them out of a file: example inputs are pickled, guards are Python source.
    program._example_inputs = None
    program._guards_code = []
    return program


def _check(path: Path, rows: Mapping[str, np.ndarray], device: Device) -> None:
    try:
        with quiet():
            runner = TorchRunner(path, device, torch.get_num_threads())
            for part in ({name: values[:1] for name, values in rows.items()}, rows):
                runner(part)
    except Exception as error:  # of the compiler there are classes without end
        raise NotMade(f"its program does not run: {cause(error)}") from error
