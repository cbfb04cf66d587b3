"""What can go wrong in training, said to a person."""

from training.package.errors import UserError


class ConfigError(UserError):
    """The experiment file is wrong."""


class DataError(UserError):
    """The table is not what the experiment says, or not fit to learn from."""


class StorageError(UserError):
    """The run's folder cannot be written, or holds something else."""

    exit_code = 3


class CapacityError(UserError):
    """The cluster can never give what was asked for."""

    exit_code = 3


class TrainingFailed(UserError):
    """Training or every trial of a search failed, after all restarts."""

    exit_code = 1
