"""A slot's watchdog, and what becomes of errors between Tune and the conductor. No Ray is started."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.search.made_up_slots import around_of, iris
from tests.training.search.playing import driver, introduction, played
from training.hosts import machines
from training.search import bridge
from training.search.bridge import HeadKilled, SlotDeaths, SlotSearcher, WhenOver
from training.search.slot import actor
from training.search.slot.actor import SLOT, TOLD, Watchdog, last_words, say_last


class Died(Exception):
    """In place of the process's end."""


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    def die(self: Watchdog, cause: str) -> None:
        raise Died(cause)

    monkeypatch.setattr(Watchdog, "_die", die)
    return Watchdog(around_of(iris(tmp_path)), b"key", 1e9, 0.2, "node")


def test_only_a_trial_that_is_trained_and_makes_no_step_hangs(watched: Watchdog) -> None:
    around = watched._around.watched
    watched._look_for_hang()
    time.sleep(0.3)
    watched._look_for_hang()  # nothing is trained
    around.trials = ("t0000",)
    with around.paused():  # it reads its rows
        time.sleep(0.3)
        watched._look_for_hang()
    watched._look_for_hang()
    time.sleep(0.15)
    around.beats += 1
    watched._look_for_hang()
    time.sleep(0.15)
    watched._look_for_hang()
    time.sleep(0.15)
    with pytest.raises(Died, match=r"made no step for 0 s, in .*\.py:\d+ in "):
        watched._look_for_hang()


def test_a_gcs_that_cannot_be_asked_ends_no_watching(watched: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def draining() -> frozenset[str]:
        asked.append(1)
        if len(asked) < 3:
            raise RuntimeError("GCS unavailable")
        return frozenset({"node"})

    monkeypatch.setattr(machines, "draining", draining)
    monkeypatch.setattr(actor, "WATCH_EVERY_S", 0.01)
    watched.start()
    assert watched._around.notices.wait(5)
    watched.stop()
    watched.join()
    assert len(asked) >= 3


def test_last_words_are_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[bytes, bytes] = {}
    monkeypatch.setattr(actor.internal_kv, "_internal_kv_put", lambda key, value, **_: kept.update({key: value}))
    monkeypatch.setattr(actor.internal_kv, "_internal_kv_get", lambda key, **_: kept.get(key))
    monkeypatch.setattr(actor.internal_kv, "_internal_kv_del", lambda key, **_: kept.pop(key))
    say_last(b"s/slot-0", ("t0001", "t0002"), "made no step | for 5 s")
    assert last_words("s", "slot-0") == (("t0001", "t0002"), "made no step | for 5 s")
    assert last_words("s", "slot-0") == ((), "")


class Trial:
    """Of Tune."""

    trial_id = "a"

    def get_error(self) -> str:
        """The trace that Tune keeps."""
        return "Traceback\n  ...\nray.exceptions.ActorDiedError: The actor died\n\n"


def test_errors_of_the_driver_end_the_search_and_are_not_lost_in_tune(tmp_path: Path) -> None:
    """Tune logs what a searcher raises at a trial's end, and begins the trial again."""
    with driver(played(tmp_path)) as one:
        searcher, when = SlotSearcher(one.conductor), WhenOver(one.conductor)
        assert searcher.suggest("a") == {SLOT: "slot-0"}
        assert not when.stop_all()

        def broken(*_: Any) -> None:
            raise OSError("the disk is full")

        one.conductor.hear = broken  # type: ignore[method-assign]
        searcher.on_trial_result("a", {TOLD: introduction("p1")})
        assert isinstance(one.conductor.failure, OSError)
        assert when.stop_all()
        assert searcher.suggest("b") == "FINISHED"


def test_a_process_that_died_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with driver(played(tmp_path)) as one:
        one.conductor.new_slot("a")
        SlotDeaths(one.conductor).on_trial_recover(1, [], Trial())
        assert one.progress.notes == ["a slot could not begin: ray.exceptions.ActorDiedError: The actor died"]
        one.conductor.hear("a", introduction("p1"))
        SlotDeaths(one.conductor).on_trial_recover(2, [], Trial())
        assert one.progress.notes[-1] == "slot-0 ended: its process died; 1 trial of it"
        monkeypatch.setattr(bridge.machines, "dead_head", lambda: "raylet")
        with pytest.raises(HeadKilled, match="raylet"):
            WhenOver(one.conductor).stop_all()
