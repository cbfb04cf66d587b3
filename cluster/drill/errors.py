"""What a drill cannot be asked for."""

from training.package.errors import UserError


class DrillError(UserError):
    """The drill cannot be done like this."""
