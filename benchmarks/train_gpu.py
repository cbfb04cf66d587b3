"""The training loop on a GPU: GPT-2 124M against a loop written by hand, and ResNet-18 fed from memory.

    python -m benchmarks.train_gpu [--steps 60] [--rounds 3] [--tiny]

GPT-2: bf16, compiled, sequences of 1,024 tokens; ours and the hand-written loop take turns, some steps each.

    gpt2_vs_plain_loop      tokens a second, ours / by hand
    gpt2_mfu                model FLOPs a second / what a large matrix product reaches on this card
    resnet_images_per_s     ResNet-18 on 32x32 images, bf16, from memory
    resnet_loader_fraction  share of the step time that goes when one batch is used again and again

Without a GPU it says so and claims nothing. `--tiny` runs all of it on the CPU in small, to see that it runs.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.data.batches import LoaderState
from training.data.prepared import Facts, Part
from training.flops import flops_per_sample, matrix_peak
from training.loop import Trainer
from training.model_config import ResNetConfig
from training.models.causal_lm import CausalLm
from training.models.resnet import ResNet
from training.package.fitted import ByteTransform
from training.package.transforms import Transforms
from training.session import PlainSession
from training.train_config import TrainConfig

PEAK_LR, WEIGHT_DECAY, MAX_GRAD_NORM = 6e-4, 0.1, 1.0


def main() -> None:
    """Run both, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="of each contender in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="sequences a step")
    parser.add_argument("--tiny", action="store_true", help="in small, on the CPU: no figure of it means anything")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.tiny:
        print("no CUDA device here: nothing was measured")
        print(json.dumps({"gpu": None}))
        return
    device = torch.device("cpu" if arguments.tiny else "cuda")
    name = "none, in small" if arguments.tiny else torch.cuda.get_device_name(device)
    print(f"{name}, torch {torch.__version__}")
    found: dict[str, Any] = {"gpu": None if arguments.tiny else name}
    found |= gpt2(device, arguments.steps, arguments.rounds, arguments.batch, tiny=arguments.tiny)
    found |= resnet(device, arguments.rounds, tiny=arguments.tiny)
    print(json.dumps(found))


def gpt2(device: torch.device, steps: int, rounds: int, batch: int, *, tiny: bool) -> dict[str, Any]:
    """Tokens a second, ours and by hand."""
    length, vocabulary, shape = (32, 259, (32, 2, 2)) if tiny else (1024, 50_257, (768, 12, 12))
    batch, steps = (4, 3) if tiny else (batch, steps)
    tokens = np.random.default_rng(0).integers(3, vocabulary, (batch * steps, length + 1))
    inputs_NL, targets_NL = np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    def model() -> nn.Module:
        torch.manual_seed(0)
        return CausalLm(vocabulary, length, dim=shape[0], layers=shape[1], heads=shape[2])

    config = TrainConfig(
        epochs=rounds + 1, global_batch_size=batch, peak_lr=PEAK_LR, weight_decay=WEIGHT_DECAY, precision="bf16",
        compile=not tiny, max_grad_norm=MAX_GRAD_NORM, early_stopping=None,
    )  # fmt: skip
    part = Part({"tokens": inputs_NL}, targets_NL)
    validation = Part({"tokens": inputs_NL[:batch]}, targets_NL[:batch])
    ours = Trainer(
        config, model(), facts_of("language_modelling", length), part, validation, session(device), "log_loss"
    )
    plain = PlainLanguageModel(
        model(), inputs_NL, targets_NL, batch, steps * (rounds + 1), device, is_compiled=not tiny
    )
    timings = [
        (seconds(ours_epoch(ours), device), seconds(lambda: plain.run(steps), device)) for _ in range(rounds + 1)
    ][1:]  # the first compiles
    num_tokens = batch * steps * length
    ours_s = statistics.median(own for own, _ in timings)
    flops = flops_of_tokens(model().to(device), length, device)
    peak = math.nan if tiny else matrix_peak(device, torch.bfloat16)
    ratio = statistics.median(peer / own for own, peer in timings)
    print(
        f"  GPT-2: {num_tokens / ours_s:,.0f} tokens/s, {ratio:.3f} of a loop by hand, peak {peak / 1e12:.0f} TFLOP/s"
    )
    return {
        "gpt2_tokens_per_s": round(num_tokens / ours_s), "gpt2_vs_plain_loop": round(ratio, 3),
        "gpt2_mfu": None if tiny else round(flops * num_tokens / ours_s / peak, 3),
        "matrix_peak_tflops": None if tiny else round(peak / 1e12, 1),
    }  # fmt: skip


class PlainLanguageModel:
    """A loop as a careful person writes it for this model."""

    def __init__(
        self, model: nn.Module, inputs_NL: np.ndarray, targets_NL: np.ndarray, batch: int, num_steps: int,
        device: torch.device, *, is_compiled: bool,
    ) -> None:  # fmt: skip
        self.model = model.to(device)
        self.forward = torch.compile(self.model) if is_compiled else self.model
        self.inputs_NL = torch.from_numpy(inputs_NL).to(device)
        self.targets_NL = torch.from_numpy(targets_NL).to(device)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, fused=True)
        self.batch, self.num_steps, self.step, self.device = batch, num_steps, 0, device

    def run(self, steps: int) -> None:
        """So many steps over a shuffled epoch."""
        order = torch.randperm(len(self.inputs_NL), device=self.device)
        total = torch.zeros((), device=self.device)
        for i in range(steps):
            rows = order[i * self.batch : (i + 1) * self.batch]
            progress = self.step / self.num_steps
            for group in self.optimizer.param_groups:
                group["lr"] = PEAK_LR * min(1.0, progress / 0.1 + 1e-3) * 0.5 * (1 + math.cos(math.pi * progress))
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16):
                logits_BLV = self.forward(self.inputs_NL[rows])
                loss = F.cross_entropy(logits_BLV.flatten(0, 1).float(), self.targets_NL[rows].flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM, foreach=True)
            self.optimizer.step()
            total += loss.detach()
            self.step += 1


def resnet(device: torch.device, rounds: int, *, tiny: bool) -> dict[str, Any]:
    """Images a second from memory, and with one batch again and again."""
    num_images, batch = (64, 16) if tiny else (50_000, 512)
    draw = np.random.default_rng(0)
    images = draw.standard_normal((num_images, 3, 32, 32), dtype=np.float32)
    part = Part({"image": images}, draw.integers(0, 10, num_images))
    config = TrainConfig(
        epochs=rounds + 1, global_batch_size=batch, precision="bf16", compile=not tiny, early_stopping=None
    )
    model = ResNet((3, 32, 32), 10, ResNetConfig(kind="resnet", depths=(2, 2, 2, 2), width=8 if tiny else 64))
    validation = Part({"image": images[:batch]}, part.target[:batch])
    facts = facts_of("classification", 0, tuple(str(i) for i in range(10)))
    ours = Trainer(config, model, facts, part, validation, session(device), "accuracy")
    loaded = [seconds(ours_epoch(ours), device) for _ in range(rounds + 1)][1:]
    again = statistics.median(seconds(lambda: one_batch_again(ours, part, batch), device) for _ in range(rounds))
    fraction = max(0.0, 1 - again / statistics.median(loaded))
    rate = num_images / statistics.median(loaded)
    print(f"  ResNet-18: {rate:,.0f} images/s, {fraction:.1%} of the time is the loader's")
    return {"resnet_images_per_s": round(rate), "resnet_loader_fraction": round(fraction, 4)}


def one_batch_again(ours: Trainer, part: Part, batch: int) -> None:
    """As many steps as an epoch has, all on the first batch."""
    ours._batches = None
    first = next(ours._loader.batches(LoaderState()))
    for _ in range(math.ceil(len(part) / batch)):
        ours._make_step(first, ours.place)


def ours_epoch(ours: Trainer) -> Callable[[], None]:
    """The steps of an epoch, without its evaluation."""

    def run() -> None:
        ours.train_steps()
        ours.epoch, ours.samples, ours._batches = ours.epoch + 1, 0, None

    return run


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Until the device is done with it."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def flops_of_tokens(model: nn.Module, length: int, device: torch.device) -> float:
    """Of one token, forward and backward."""
    tokens = torch.zeros(1, length, dtype=torch.int64, device=device)
    return flops_per_sample(model, (tokens,), Tensor.sum) / length


def session(device: torch.device) -> PlainSession:
    """A host in this process."""
    return PlainSession(device=device)


def facts_of(task: Any, length: int, labels: tuple[str, ...] = ()) -> Facts:
    """As much as the loop needs."""
    transforms = Transforms(bytes=ByteTransform(name="text", length=length, max_windows=1) if length else None)
    return Facts(task, labels, (), transforms, 0.0, 1.0, "made up")


if __name__ == "__main__":
    main()
