"""What can go wrong in compression, said to a person."""

from training.package.errors import UserError


class ExportFailed(UserError):
    """The model cannot be written as ONNX, or answers differently there."""

    exit_code = 1
