"""Who proposes the next trial, and what it knows."""
