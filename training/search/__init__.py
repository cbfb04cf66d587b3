"""Hyperparameter search: Ray Tune runs the trials, Optuna proposes them, the run's folder remembers."""
