"""What can go wrong between a person and a machine."""

from training.package.errors import UserError


class ClusterError(UserError):
    """The machine or the cluster cannot do it."""

    exit_code = 3


class JobError(UserError):
    """A job cannot be sent, found or followed."""

    exit_code = 3
