"""What a run's page says of its search."""
