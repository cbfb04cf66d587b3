"""How many trials a search is to have, when it was extended or interrupted."""

from pathlib import Path

import pytest

from training.errors import ConfigError
from training.journal import Journal
from training.search.extend import EXTENDED, trials_wanted


def journal(tmp_path: Path, searches: list[int], num_ended: int) -> Journal:
    """A search that was begun with so many trials, and again with so many, of which some have ended."""
    found = Journal(tmp_path / "journal.jsonl")
    for trials in searches:
        if trials > searches[0]:
            found.append(EXTENDED, trials=trials)
        found.append("search", trials=trials)
    for number in [*range(num_ended), *range(min(num_ended, 1))]:  # the first is there twice
        found.append("trial", trial=f"t{number:04d}")
    return found


@pytest.mark.parametrize(
    ("searches", "ended", "more", "wanted"),
    [
        ([], 0, None, 4),
        ([4], 2, None, 4),
        ([4], 4, 3, 7),  # finished, and extended
        ([4, 7], 5, 3, 7),  # the extension was killed: the same command goes on
        ([4, 7], 5, None, 7),  # so does the one without it
        ([4, 7], 7, 3, 10),  # it is finished, and the command was given again
        ([4, 7, 7, 10], 8, 3, 10),
        ([4], 2, 3, 7),  # not finished: it is to have 3 more than it was to have
        ([4, 4], 2, 3, 7),  # killed twice before
    ],
)
def test_an_extension_counts_once(
    tmp_path: Path, searches: list[int], ended: int, more: int | None, wanted: int
) -> None:
    trials, note = trials_wanted(journal(tmp_path, searches, ended), 4, more)
    assert trials == wanted
    assert bool(note) == (more is not None and searches[-1:] == [wanted])


def test_a_larger_file_extends_and_a_smaller_one_takes_no_extension_back(tmp_path: Path) -> None:
    found = journal(tmp_path, [4, 7], 7)
    assert trials_wanted(found, 9, None)[0] == 9
    assert trials_wanted(found, 2, None)[0] == 7


def test_a_file_that_says_less_than_before_is_believed(tmp_path: Path) -> None:
    assert trials_wanted(journal(tmp_path, [400], 5), 7, None)[0] == 7
    assert trials_wanted(journal(tmp_path, [400], 5), 3, 2)[0] == 7, "those that have ended are there"


def test_there_must_be_a_search_to_extend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no search in .* to extend by 5 trials"):
        trials_wanted(Journal(tmp_path / "journal.jsonl"), 4, 5)
