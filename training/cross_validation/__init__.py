"""Cross-validation: folds and seeds as parallel trainings, predictions for rows no model saw, one model of all rows."""
