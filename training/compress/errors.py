"""What can go wrong in compression, said to a person."""

from training.package.errors import UserError


class ExportFailed(UserError):
    """The model cannot be written as ONNX, or answers differently there."""

    exit_code = 1


class NoBaseline(UserError):
    """The model as trained gives nothing to hold other forms against."""

    exit_code = 1


class NoScratch(UserError):
    """The disk for temporary files is full."""

    exit_code = 3


class NotMade(UserError):
    """One form that cannot be made of this model; the others go on without it. The message is the whole reason."""

    exit_code = 1
