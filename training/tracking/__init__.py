"""Where else a training tells its numbers: TensorBoard files, an MLflow server. The journal stays the truth."""
