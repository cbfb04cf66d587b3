"""What happened, in words: with the facts that are known, and without those that are not."""

from typing import Any

import pytest

from training.event_text import TOLD, event_text

SAID: list[tuple[dict[str, Any], str]] = [
    (
        {"event": "preempted", "step": 1234, "what": "node 10.0.0.7 is being drained"},
        "step 1,234: training saved itself and left (node 10.0.0.7 is being drained)",
    ),
    ({"event": "worker_lost", "step": 7, "what": "node a was\nlost"}, "step 7: node a was lost"),
    ({"event": "worker_failed", "what": "worker 1: ValueError"}, "worker 1: ValueError; training tries again"),
    ({"event": "hang", "what": "worker 1 made no step for 300 s"}, "worker 1 made no step for 300 s"),
    (
        {"event": "resumed", "step": 1200, "workers": 3, "seconds": 7.31, "steps_lost": 34},
        "step 1,200: training goes on with 3 workers, 7.3 s later, 34 steps lost",
    ),
    (
        {"event": "resumed", "step": 0, "workers": 1, "seconds": 0, "steps_lost": 0},
        "step 0: training goes on with 1 worker, no step lost",
    ),
    (
        {"event": "storage_trouble", "step": 9, "what": "No space left", "retry_s": 8},
        "step 9: a checkpoint could not be kept (No space left); the last good one is intact, next attempt in 8.0 s",
    ),
    ({"event": "storage_recovered", "seconds": 95}, "checkpoints are kept again after 1 min 35 s"),
    (
        {"event": "checkpoint_refused", "step": 900, "what": "a loss that is no number was seen"},
        "step 900: no checkpoint was made (a loss that is no number was seen); the last good one is intact",
    ),
    (
        {"event": "diverged", "step": 850, "what": "the loss became nan", "action": "rollback", "to_step": 780,
         "lr_scale": 0.25},
        "step 850: training diverged (the loss became nan); back to step 780, at 0.25 of the rate",
    ),
    ({"event": "diverged", "step": 8, "action": "stop"}, "step 8: training diverged; it stops"),
    (
        {"event": "micro_batch", "rows": 64, "share": 256},
        "memory holds 64 rows of the 256 of a step at a time; their gradients add up",
    ),
    ({"event": "waiting", "what": "1 of 2 fits"}, "training waits for machines (1 of 2 fits)"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "text"), SAID, ids=lambda value: value["event"] if isinstance(value, dict) else "")
def test_events_as_people_read_them(event: dict[str, Any], text: str) -> None:
    assert event_text(event) == text


def test_every_kind_has_words_without_any_facts_and_others_have_none() -> None:
    assert {event["event"] for event, _ in SAID} == set(TOLD)
    assert all(event_text({"event": kind}) for kind in TOLD)
    assert event_text({"event": "epoch", "step": 3}) is None
