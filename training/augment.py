"""Changed copies of training rows, made on the batch and on its device.

What happens to a sample is a pure function of (seed, epoch, place in the epoch's sequence): see `training.draws`.
Nothing depends on what it shares a batch with, so any number of workers, and a run that goes on after a break, see the
same copies. A row that is drawn twice in an epoch, as rare classes are, is changed in two ways.
Model inputs are normalised: 0 is the mean of an input and 1 its scale.
Shape letters: B rows of a batch, C channels, H height, W width, F numbers of a row, K columns of codes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from training.augment_image import along, changed_image, outside_box
from training.draws import LARGEST, Place, Use
from training.input_layout import InputLayout
from training.learning_config import AugmentConfig
from training.losses import Wanted
from training.package.fitted import UNKNOWN_CODE, Transforms

Rows = tuple[tuple[Tensor, ...], Tensor]  # tensors in the model's order, and the target (B,)

TABLE_POINTS = 4097  # of the inverse of a beta distribution, between which it is taken as straight


class Augmenter:
    """Applies one config's changes to batches.

    Args:
        config: which changes, and how strong.
        names: of the model's tensors, in its order.
        transforms: what the inputs in them stand for.
        seed: of the training.
        device: of the batches.
    """

    def __init__(
        self, config: AugmentConfig, names: Sequence[str], transforms: Transforms, seed: int,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self._config, self._names, self._seed = config, tuple(names), seed
        layout = InputLayout.of(transforms)
        self._column_F = torch.from_numpy(layout.column_F).to(device)
        self._num_columns = layout.num_columns
        self._is_number_F = torch.arange(len(layout.column_F), device=device) < layout.num_numbers
        alphas = {"mixup": config.mixup, "cutmix": config.cutmix}
        self._shares = {name: _beta_table(alpha).to(device) for name, alpha in alphas.items() if alpha > 0}

    @property
    def mixes(self) -> bool:
        """Whether rows are mixed with others."""
        return bool(self._shares)

    def picks(self, ids_B: Tensor, epoch: int) -> Tensor:
        """Which rows they are mixed with: numbers of 63 bits (B,), to be taken modulo the number of rows at hand."""
        return Place(self._seed, epoch, ids_B).bits(Use.PARTNER) & LARGEST

    def __call__(self, rows: Rows, others: Rows | None, ids_B: Tensor, epoch: int) -> tuple[tuple[Tensor, ...], Wanted]:
        """The changed tensors, and what the model should answer for them.

        Args:
            rows: a batch.
            others: the rows that these are mixed with, as picked by `picks`; unused where nothing is mixed.
            ids_B: place of each sample in the epoch's sequence, int64 on the same device.
            epoch: epochs done before.
        """
        tensors, target_B = rows
        place = Place(self._seed, epoch, ids_B)
        changed = self._alone(tensors, place)
        if not self.mixes:
            return changed, Wanted(target_B)
        assert others is not None, "the loader was not given `picks`"
        other_tensors, other_B = others
        changed_others = self._alone(other_tensors, replace(place, is_partner=True))
        mixed, share_B = self._mixed(changed, changed_others, place)
        return mixed, Wanted(target_B, other_B, share_B)

    def _alone(self, tensors: tuple[Tensor, ...], place: Place) -> tuple[Tensor, ...]:
        """What happens to each row by itself."""
        return tuple(
            changed_image(tensor, self._config, place) if name == "image" else self._table(name, tensor, part, place)
            for part, (name, tensor) in enumerate(zip(self._names, tensors, strict=True))
        )

    def _table(self, name: str, tensor: Tensor, part: int, place: Place) -> Tensor:
        config = self._config
        if config.noise and name == "numeric":
            noise_BF = config.noise * place.normal(Use.NOISE, tensor.shape[1], part)
            tensor = tensor + noise_BF * self._is_number_F
        if config.feature_dropout:
            num_draws = self._num_columns if name == "numeric" else tensor[0].numel()
            is_dropped = place.uniform(Use.DROP, num_draws, part) < config.feature_dropout
            if name == "numeric":
                is_dropped = is_dropped[:, self._column_F]  # all inputs of a column together
            tensor = tensor.masked_fill(is_dropped.view_as(tensor), UNKNOWN_CODE if name == "categorical" else 0)
        return tensor

    def _mixed(
        self, ones: tuple[Tensor, ...], others: tuple[Tensor, ...], place: Place
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Each row mixed with its partner, and the share of itself that it keeps, at least half."""
        shares = {name: _drawn_share(table, place) for name, table in self._shares.items()}
        has_image = "image" in self._names
        if "cutmix" not in shares or not has_image:
            share_B = shares["mixup"]
            return self._blended(ones, others, share_B, place), share_B
        is_own_BHW = outside_box(ones[self._names.index("image")], 1 - shares["cutmix"], place)
        cut_share_B = is_own_BHW.float().mean(dim=(1, 2))
        if "mixup" not in shares:
            return self._pasted(ones, others, is_own_BHW), cut_share_B
        is_cut_B = place.uniform(Use.MIXUP_OR_CUTMIX, 1)[:, 0] < 0.5
        blended = self._blended(ones, others, shares["mixup"], place)
        pasted = self._pasted(ones, others, is_own_BHW)
        picked = tuple(
            torch.where(along(is_cut_B, cut), cut, blend) for cut, blend in zip(pasted, blended, strict=True)
        )
        return picked, torch.where(is_cut_B, cut_share_B, shares["mixup"])

    def _blended(
        self, ones: tuple[Tensor, ...], others: tuple[Tensor, ...], share_B: Tensor, place: Place
    ) -> tuple[Tensor, ...]:
        """Mixup: numbers are blended; of codes, and of whole texts, as large a share is taken over."""
        mixed = []
        for part, (name, one, other) in enumerate(zip(self._names, ones, others, strict=True)):
            if one.is_floating_point():
                mixed.append(other + along(share_B, one) * (one - other))
            else:
                num_draws = one.shape[1] if name == "categorical" else 1
                stays = along(place.uniform(Use.CODES, num_draws, part) < share_B[:, None], one)
                mixed.append(torch.where(stays, one, other))
        return tuple(mixed)

    def _pasted(self, ones: tuple[Tensor, ...], others: tuple[Tensor, ...], is_own_BHW: Tensor) -> tuple[Tensor, ...]:
        """Cutmix: a rectangle of the other image; what stands beside the image stays."""
        return tuple(
            torch.where(is_own_BHW[:, None], one, other) if name == "image" else one
            for name, one, other in zip(self._names, ones, others, strict=True)
        )


def _beta_table(alpha: float) -> Tensor:
    """The inverse of Beta(alpha, alpha) at evenly spaced probabilities, as float32."""
    return torch.from_numpy(betaincinv(alpha, alpha, np.linspace(0, 1, TABLE_POINTS)).astype(np.float32))


def _drawn_share(table: Tensor, place: Place) -> Tensor:
    """The share of itself that a row keeps, (B,), drawn from the table's distribution.

    It is the larger of the two shares: which of two rows is the partner is chance, so nothing is lost, and where
    classes are drawn equally often the partners, drawn from all rows, do not undo it.
    """
    place_B = place.uniform(Use.SHARE, 1)[:, 0] * (len(table) - 1)
    below_B = place_B.floor().long()
    share_B = table[below_B] + (place_B - below_B) * (table[below_B + 1] - table[below_B])
    return torch.maximum(share_B, 1 - share_B)
