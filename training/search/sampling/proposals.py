"""What to try next: the space, its sampler, known points, and what earlier runs found."""

from collections.abc import Callable
from typing import Any

from optuna.trial import FrozenTrial, Trial

from training.config import Experiment
from training.errors import StorageError
from training.search.sampling.samplers import is_exhausted, sampler_of, source_of
from training.search.sampling.warm_start import lend
from training.search.space.drawing import Space
from training.search.study import SearchStudy
from training.search_config import SearchConfig

SPACE = "space"  # attribute of the study: what it was made for
METRIC = "metric"


class Proposals:
    """Asks the study, and knows what its parameters mean in the experiment."""

    def __init__(
        self, config: SearchConfig, experiment: Experiment, study: SearchStudy, metric: str, note: Callable[[str], None]
    ) -> None:
        """
        Args:
            config: the search.
            experiment: whose keys are searched.
            study: new, or one to go on with.
            metric: that decides.
            note: told what a person should know of the sampler.

        Raises:
            StorageError: the study was made for another space.
            ConfigError: a point or an earlier run does not fit.
        """
        self._config, self._study = config, study
        self.space = Space(config, experiment)
        self._require_same(metric)
        is_grid = config.sampler == "grid"  # which would take the combinations of earlier runs for its own
        # Before the sampler, which may begin with them.
        lent = [] if is_grid else lend(study.study, self.space, experiment, metric)
        if is_grid and config.from_:
            note("a grid tries every combination, whatever earlier runs found: search.from is left out")
        study.flush()
        study.study.sampler, notes = sampler_of(config, self.space, study.study)
        for text in (*(each.words() for each in lent), *notes):
            note(text)
        self.is_exhausted = self._is_exhausted()  # nothing is left to try, though more trials are allowed

    def _require_same(self, metric: str) -> None:
        study, fingerprint = self._study.study, self.space.fingerprint()
        known = study.user_attrs
        if SPACE not in known:
            study.set_user_attr(SPACE, fingerprint)
            study.set_user_attr(METRIC, f"validation/{metric}")
            for point in self.space.points():
                study.enqueue_trial(point)
            self._study.flush()
        elif changes := self.space.differences(known[SPACE]):
            listed = "\n  ".join(["this search began with another space", *changes])
            raise StorageError(listed, "bring the old space back, or give the search another name (--set name=...)")
        else:
            known_points = [trial.system_attrs.get("fixed_params") for trial in study.get_trials(deepcopy=False)]
            for point in self.space.points():
                if point not in known_points:  # written into the file since
                    study.enqueue_trial(point)
            self._study.flush()

    def _is_exhausted(self) -> bool:
        if self._config.sampler != "grid":
            return False  # no need to look at all trials each time
        return is_exhausted(self._config, self.space, self._study.study.get_trials(deepcopy=False))

    @property
    def why_exhausted(self) -> str:
        """For a person; empty where more can be tried."""
        return f"all {self.space.size():,} combinations of the grid were tried" if self.is_exhausted else ""

    def ask(self) -> tuple[Trial, dict[str, Any], str] | None:
        """A new trial, its settings, and who proposed them; None where nothing is left to try."""
        if self.is_exhausted:
            return None
        trial = self._study.study.ask()
        params = self.space.draw(trial)
        source = source_of(self._study.study, trial._trial_id)
        self.is_exhausted = self._is_exhausted()
        return trial, params, source

    def drawn(self, trial: Trial) -> dict[str, Any]:
        """The settings of a trial that an earlier driver opened; what it had not drawn yet is drawn now."""
        return self.space.draw(trial)

    def source_of(self, trial: FrozenTrial) -> str:
        """Who proposed a trial."""
        return source_of(self._study.study, trial._trial_id)

    def params_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """A trial's settings; of a member of a population those that it ended with."""
        lineage = trial.user_attrs.get("lineage")
        return dict(lineage[-1]["params"]) if lineage else self.space.values_of(trial)
