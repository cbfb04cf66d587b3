"""Who goes on: each judge hears scores at rungs and answers. They decide; the driver acts."""

from training.search.judges.choose import judge_of
from training.search.judges.verdicts import Clone, GoOn, Judge, Stop, Verdict

__all__ = ["Clone", "GoOn", "Judge", "Stop", "Verdict", "judge_of"]
