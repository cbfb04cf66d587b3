"""Number formats: from an fp32 model to the same model in fewer bits. No training here."""
