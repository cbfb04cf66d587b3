"""How many trials a search is to have in all: as the file says, or as it was extended to."""

from training.config import Experiment
from training.errors import ConfigError
from training.journal import Journal
from training.search_config import SearchConfig

EXTENDED = "extended"  # event of a run's journal


def trials_wanted(journal: Journal, in_file: int, more: int | None) -> tuple[int, str]:
    """Trials in all, and a note where that is not what was asked for.

    Args:
        journal: of the run.
        in_file: `search.trials`.
        more: asked for beyond those of a finished search; None: none.

    Raises:
        ConfigError: there is no search to extend.
    """
    extended = max((int(event["trials"]) for event in journal.events(EXTENDED)), default=0)
    aim = max(in_file, extended)
    if more is None:
        return aim, ""
    if not any(journal.events("search")):
        raise ConfigError(
            f"there is no search in {journal.path.parent} to extend by {more} trials",
            "run it first: manta tune without --more",
        )
    ended = len({event["trial"] for event in journal.events("trial")})
    # The same command given again after a crash must not add its trials a second time.
    if ended < extended:
        return aim, f"the extension to {aim} trials is not finished ({ended} ended): it goes on"
    return max(aim, ended) + more, ""


def no_more_than_there_are(config: SearchConfig, experiment: Experiment) -> SearchConfig:
    """A grid has as many trials as combinations, and no more."""
    if config.sampler != "grid":
        return config
    from training.search.space.drawing import Space  # noqa: PLC0415  # Optuna, which a training need not wait for

    size = Space(config, experiment).size()
    return config if size is None or size >= config.trials else config.model_copy(update={"trials": size})
