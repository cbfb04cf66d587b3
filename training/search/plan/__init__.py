"""What a search would do and take, before it does it."""
