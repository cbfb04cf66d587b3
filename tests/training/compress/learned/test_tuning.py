"""Training on: the best weights are given, the first ones among them, or a reason why there are none."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.compress.learned.made import around, untrained
from tests.training.data.stream import tables
from training.compress.errors import NotMade
from training.compress.learned.around import Around, Base
from training.compress.learned.tuning import fine_tune, validation_score
from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Part, Prepared
from training.data.stream.prepare import prepare_stream


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_a_model_learns_on_and_the_one_that_was_given_stays(small: Around) -> None:
    model, before = untrained(small), untrained(small)
    tuned, score = fine_tune(model, small, epochs=2, peak_lr=0.01)
    assert same(model, before)
    assert not tuned.training
    assert score == validation_score(tuned, small) > validation_score(model, small) + 0.3


def test_the_first_weights_are_kept_where_tuning_makes_them_worse(small: Around, learned: Base) -> None:
    tuned, score = fine_tune(learned.model, small, epochs=1, peak_lr=0.9)
    assert same(tuned, learned.model)
    assert score == learned.validation_score


def test_without_an_epoch_a_model_is_only_judged(small: Around, learned: Base) -> None:
    tuned, score = fine_tune(learned.model, small, epochs=0, peak_lr=0.01)
    assert same(tuned, learned.model)
    assert score == learned.validation_score


def test_the_seed_decides(small: Around, learned: Base) -> None:
    one, again, other = (
        fine_tune(learned.model, small, epochs=1, peak_lr=0.003, seed_offset=seed)[0] for seed in (0, 0, 1)
    )
    assert same(one, again)
    assert not same(one, other)


def test_a_training_that_diverges_is_a_form_that_is_not_made() -> None:
    data = {"source": "sklearn:diabetes", "target": "target", "task": "regression"}
    prepared = prepare(DataConfig.model_validate(data))
    wild = {"optimizer": {"kind": "sgd"}, "max_grad_norm": None, "global_batch_size": 8}
    place = around(prepared, {"hidden": (32, 32)}, "rmse", data=data, train=wild)
    with pytest.raises(NotMade, match=r"training diverged: .* with train.peak_lr=0.99"):
        fine_tune(untrained(place), place, epochs=4, peak_lr=0.99)


def test_without_validation_rows_the_last_epoch_is_taken(small: Around) -> None:
    validation = small.prepared.validation
    none = Part({name: values[:0] for name, values in validation.tensors.items()}, validation.target[:0])
    blind = dataclasses.replace(small, prepared=dataclasses.replace(small.prepared, validation=none))
    model = untrained(small)
    tuned, score = fine_tune(model, blind, epochs=1, peak_lr=0.01)
    assert score != score
    assert validation_score(tuned, small) > validation_score(model, small)


def test_a_stream_is_trained_on_in_this_process(tmp_path: Path) -> None:
    folder = tables.write(tmp_path / "t", tables.rows(400))
    prepared: Prepared = prepare_stream(tables.config(folder))
    data = {"source": str(folder), "target": "y", "loading": "stream"}
    place = around(prepared, {"hidden": (32,)}, data=data)
    model = untrained(place)
    tuned, score = fine_tune(model, place, epochs=3, peak_lr=0.01)
    assert score > validation_score(model, place)
    assert len(place.some_rows(5)[0]) == 5
    assert score == validation_score(tuned, place)


def test_epochs_are_chosen_by_the_score_that_must_be_kept(small: Around, learned: Base) -> None:
    by_loss = dataclasses.replace(small, metric="log_loss")
    tuned, score = fine_tune(learned.model, by_loss, epochs=2, peak_lr=0.003)
    before = validation_score(learned.model, by_loss)
    assert score == validation_score(tuned, by_loss)
    assert score <= before
    kept, unchanged = fine_tune(learned.model, by_loss, epochs=1, peak_lr=0.9)  # less is better, and this is more
    assert same(kept, learned.model)
    assert unchanged == before


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_score_that_the_validation_rows_lack_chooses_nothing(small: Around, learned: Base, epochs: int) -> None:
    validation = small.prepared.validation
    chosen = validation.target == 3
    one_class = Part({name: values[chosen] for name, values in validation.tensors.items()}, validation.target[chosen])
    blind = dataclasses.replace(
        small, metric="roc_auc", prepared=dataclasses.replace(small.prepared, validation=one_class)
    )  # fmt: skip
    with pytest.raises(NotMade, match=r"give no roc_auc, by which it would be judged \(they give accuracy, "):
        fine_tune(learned.model, blind, epochs=epochs, peak_lr=0.001)
