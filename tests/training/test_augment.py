"""Augmentation: each kind does what it says, and a sample's copy does not depend on who makes it.

Shape letters: B samples.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from training.augment import Augmenter
from training.learning_config import AugmentConfig
from training.package.fitted import (
    CategoricalTransform,
    DatePartTransform,
    DateTransform,
    NumericTransform,
    Transforms,
)

TABLE = Transforms(
    numeric=(
        NumericTransform(name="age", fill=0, mean=0, scale=1, indicator=True),
        NumericTransform(name="rent", fill=0, mean=0, scale=1),
    ),
    categorical=(
        CategoricalTransform(name="city", vocabulary=("Rome", "Oslo", "Bonn"), encode="one_hot"),
        CategoricalTransform(name="job", vocabulary=("cook", "smith")),
        CategoricalTransform(name="club", vocabulary=("x", "y")),
    ),
    dates=(DateTransform(name="born", parts=(DatePartTransform(part="year", fill=0),)),),
)
TABLE_NAMES = ("numeric", "categorical", "tokens")
NUM_NUMERIC = 8  # age, rent, age missing, three cities, year, born missing
EVERYTHING = {
    "flip": "both", "shift": 0.2, "rotate_degrees": 20, "crop": 0.3, "erase": 0.2, "noise": 0.1, "mixup": 0.4,
    "cutmix": 1.0,
}  # fmt: skip
NUM_ROWS = 40

Rows = tuple[tuple[Tensor, ...], Tensor]


def images(height: int = 8, width: int = 6) -> Rows:
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(NUM_ROWS, 2, height, width, generator=draw) + 1,), torch.arange(NUM_ROWS) % 3


def table() -> Rows:
    draw = torch.Generator().manual_seed(0)
    numeric = torch.randn(NUM_ROWS, NUM_NUMERIC, generator=draw)
    codes = torch.randint(2, 4, (NUM_ROWS, 2), generator=draw)
    tokens = torch.randint(1, 50, (NUM_ROWS, 2, 5), generator=draw)
    return (numeric, codes, tokens), torch.arange(NUM_ROWS) % 3


def take(rows: Rows, index: Tensor) -> Rows:
    return tuple(tensor[index] for tensor in rows[0]), rows[1][index]


def augmented(rows: Rows, index: Tensor, epoch: int = 2, seed: int = 5, **changes: Any) -> tuple[Tensor, ...]:
    """Everything that comes out for samples `index`, which stand at these places of the epoch."""
    names = ("image",) if len(rows[0]) == 1 else TABLE_NAMES
    augment = Augmenter(AugmentConfig(**changes), names, Transforms() if len(names) == 1 else TABLE, seed)
    others = take(rows, augment.picks(index, epoch) % NUM_ROWS) if augment.mixes else None
    tensors, wanted = augment(take(rows, index), others, index, epoch)
    mixed = (wanted.other_B, wanted.share_B) if wanted.other_B is not None and wanted.share_B is not None else ()
    return *tensors, wanted.target_B, *mixed


ALL = torch.arange(NUM_ROWS)


@pytest.mark.parametrize("kind", ["image", "table"])
def test_a_sample_is_the_same_in_any_batch(kind: str) -> None:
    """Bit for bit: in another order, in batches of other sizes, shared by workers, and again."""
    rows = images() if kind == "image" else table()
    changes = EVERYTHING if kind == "image" else {"noise": 0.1, "feature_dropout": 0.3, "mixup": 0.4}
    whole = augmented(rows, ALL, **changes)
    for index in (torch.randperm(NUM_ROWS), ALL[:1], ALL[7:10], *ALL.tensor_split(3), ALL.flip(0)):
        for found, expected in zip(augmented(rows, index, **changes), whole, strict=True):
            assert torch.equal(found, expected[index])


def test_epochs_and_seeds_differ() -> None:
    first = augmented(images(), ALL, **EVERYTHING)[0]
    assert not torch.equal(first, augmented(images(), ALL, epoch=3, **EVERYTHING)[0])
    assert not torch.equal(first, augmented(images(), ALL, seed=6, **EVERYTHING)[0])


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    augmented(images(), ALL, **EVERYTHING)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("flip", "axes"), [("horizontal", {(), (3,)}), ("vertical", {(), (2,)}),
                                            ("both", {(), (2,), (3,), (2, 3)})])  # fmt: skip
@pytest.mark.parametrize("resampled", [False, True])
def test_flip(flip: str, axes: set[tuple[int, ...]], resampled: bool) -> None:
    """Also where it is part of a resampling, here one that moves nothing that can be seen."""
    image = images()[0][0]
    found = augmented(images(), ALL, flip=flip, **({"rotate_degrees": 1e-6} if resampled else {}))[0]
    seen = set()
    for i in range(NUM_ROWS):
        same = [a for a in axes if torch.allclose(found[i], image[i : i + 1].flip(a)[0], atol=1e-4)]
        assert len(same) == 1
        seen.add(same[0])
    assert seen == axes


def test_shift_moves_what_is_there() -> None:
    spot = torch.zeros(NUM_ROWS, 1, 21, 21)
    spot[:, :, 10, 10] = 1
    found = augmented(((spot,), ALL), ALL, shift=0.25)[0]
    height, width = centre_of_mass(found)
    assert (height - 10).abs().max() < 0.25 * 21 + 0.01
    assert (height - 10).std() > 2
    assert (width - 10).std() > 2
    assert abs(torch.corrcoef(torch.stack([height, width]))[0, 1]) < 0.5


def test_rotation_keeps_distances_also_in_images_that_are_not_square() -> None:
    spot = torch.zeros(NUM_ROWS, 1, 31, 41)
    spot[:, :, 15, 30] = 1
    height, width = centre_of_mass(augmented(((spot,), ALL), ALL, rotate_degrees=60)[0])
    distance = ((height - 15) ** 2 + (width - 20) ** 2).sqrt()
    assert (distance - 10).abs().max() < 0.5
    degrees = torch.atan2(height - 15, width - 20).rad2deg()
    assert degrees.abs().max() < 61
    assert degrees.std() > 20


def centre_of_mass(images: Tensor) -> tuple[Tensor, Tensor]:
    total = images.sum(dim=(1, 2, 3))
    return (
        (images.sum(dim=(1, 3)) * torch.arange(images.shape[2])).sum(1) / total,
        (images.sum(dim=(1, 2)) * torch.arange(images.shape[3])).sum(1) / total,
    )


def test_crop_enlarges_a_part_of_the_image() -> None:
    ramp = torch.linspace(0, 1, 40).expand(NUM_ROWS, 1, 40, 40).contiguous()
    found = augmented(((ramp,), ALL), ALL, crop=0.75)[0]
    span = found[:, 0, 0, -1] - found[:, 0, 0, 0]  # of what is seen, as a share of the width
    assert span.min() > 0.45  # three quarters of the area leave half of the width
    assert span.max() <= 1
    assert span.std() > 0.1
    assert found.min() >= 0
    assert found.max() <= 1


def test_erase_blanks_a_rectangle() -> None:
    found = augmented(((torch.ones(NUM_ROWS, 3, 30, 30),), ALL), ALL, erase=0.4)[0]
    blank = (found == 0).all(dim=1)
    assert ((found == 0) == blank[:, None]).all()
    share = blank.float().mean(dim=(1, 2))
    assert share.max() <= 0.42
    assert share.std() > 0.08
    for one in blank:
        rows, columns = one.any(dim=1).sum(), one.any(dim=0).sum()
        assert one.sum() == rows * columns


def test_noise_is_of_the_given_size() -> None:
    image = torch.zeros(NUM_ROWS, 3, 20, 20)
    found = augmented(((image,), ALL), ALL, noise=0.3)[0]
    assert found.std() == pytest.approx(0.3, rel=0.02)
    numeric, codes, tokens = table()[0]
    found_numeric, found_codes, found_tokens = augmented(table(), ALL, noise=0.3)[:3]
    changed = (found_numeric != numeric).all(dim=0)
    assert changed.tolist() == [True, True] + [False] * 6  # flags, categories and dates stay what they are
    assert torch.equal(found_codes, codes)
    assert torch.equal(found_tokens, tokens)


def test_feature_dropout_takes_whole_columns() -> None:
    numeric, codes, tokens = table()[0]
    found_numeric, found_codes, found_tokens = augmented(table(), ALL, feature_dropout=0.4)[:3]
    dropped = found_numeric == 0
    assert (found_numeric == torch.where(dropped, 0, numeric)).all()
    for column in ([0, 2], [1], [3, 4, 5], [6, 7]):
        assert (dropped[:, column] == dropped[:, column[:1]]).all()
        assert 0.15 < dropped[:, column[0]].float().mean() < 0.65
    assert len({tuple(row) for row in dropped[:, [0, 1, 3, 6]].tolist()}) > 8  # columns fall independently
    assert set(found_codes[found_codes != codes].tolist()) == {1}
    assert set(found_tokens[found_tokens != tokens].tolist()) == {0}
    assert (found_tokens == 0).float().mean() == pytest.approx(0.4, abs=0.1)


def test_mixup_blends_rows_and_says_how() -> None:
    image, target = images()[0][0], images()[1]
    found, one, other, share = augmented(images(), ALL, mixup=0.4)
    augment = Augmenter(AugmentConfig(mixup=0.4), ("image",), Transforms(), 5)
    partner = augment.picks(ALL, 2) % NUM_ROWS
    assert torch.equal(one, target)
    assert torch.equal(other, target[partner])
    assert (partner != ALL).float().mean() > 0.9
    blend = share[:, None, None, None]
    torch.testing.assert_close(found, blend * image + (1 - blend) * image[partner])
    assert share.min() >= 0.5


def test_mixup_shares_are_beta() -> None:
    index = torch.arange(20_000)
    augment = Augmenter(AugmentConfig(mixup=0.3), ("image",), Transforms(), 0)
    rows = (torch.zeros(20_000, 1, 1, 1),), index
    share = augment(rows, rows, index, 0)[1].share_B
    assert share is not None
    # The larger of x and 1 - x of Beta(a, a): the mean of (x - 1/2)^2 is its variance, 1 / (4 (2a + 1)).
    assert ((share - 0.5) ** 2).mean() == pytest.approx(1 / (4 * 1.6), rel=0.02)


def test_mixup_of_codes_and_texts_takes_over_whole_values() -> None:
    (numeric, codes, tokens), _ = table()
    found_numeric, found_codes, found_tokens, _, _, share = augmented(table(), ALL, mixup=5.0)
    augment = Augmenter(AugmentConfig(mixup=5.0), TABLE_NAMES, TABLE, 5)
    partner = augment.picks(ALL, 2) % NUM_ROWS
    torch.testing.assert_close(found_numeric, share[:, None] * numeric + (1 - share[:, None]) * numeric[partner])
    assert ((found_codes == codes) | (found_codes == codes[partner])).all()
    taken = (found_tokens == tokens[partner]).flatten(1).all(dim=1)
    assert (taken | (found_tokens == tokens).flatten(1).all(dim=1)).all()
    assert 0 < taken.float().mean() < 0.7


def test_cutmix_pastes_a_rectangle_and_counts_it() -> None:
    image = images(20, 15)[0][0]
    found, _, _, share = augmented(images(20, 15), ALL, cutmix=1.0)
    partner = Augmenter(AugmentConfig(cutmix=1.0), ("image",), Transforms(), 5).picks(ALL, 2) % NUM_ROWS
    pasted = (found != image).any(dim=1)
    torch.testing.assert_close(1 - pasted.float().mean(dim=(1, 2)), torch.where(partner == ALL, 1.0, share))
    assert torch.equal(found, torch.where(pasted[:, None], image[partner], image))
    assert share.min() > 0.45
    assert share.std() > 0.1
    for one in pasted[partner != ALL]:
        assert one.sum() == one.any(dim=1).sum() * one.any(dim=0).sum()


def test_both_mixings_take_turns() -> None:
    image = images(20, 15)[0][0]
    found = augmented(images(20, 15), ALL, mixup=1.0, cutmix=1.0)[0]
    blended = (found != image).flatten(1).all(dim=1)
    assert 0.2 < blended.float().mean() < 0.8


@pytest.mark.parametrize("kind", ["image", "table"])
def test_everything_stays_on_the_device(kind: str) -> None:
    """`meta` stands for any device: torch refuses to mix it with the CPU."""
    rows = images() if kind == "image" else table()
    changes: dict[str, Any] = EVERYTHING if kind == "image" else {"noise": 0.1, "feature_dropout": 0.3, "mixup": 0.4}
    names = ("image",) if kind == "image" else TABLE_NAMES
    augment = Augmenter(AugmentConfig(**changes), names, TABLE if kind == "table" else Transforms(), 0, "meta")
    there = tuple(tensor.to("meta") for tensor in rows[0]), rows[1].to("meta")
    places = torch.arange(NUM_ROWS, device="meta")
    tensors, wanted = augment(there, there, places, 0)
    assert wanted.other_B is not None
    assert wanted.share_B is not None
    for tensor in (*tensors, wanted.target_B, wanted.other_B, wanted.share_B, augment.picks(places, 0)):
        assert tensor.device.type == "meta"
