"""Whether a form is still right, and which one is worth serving: decided from what was measured."""
