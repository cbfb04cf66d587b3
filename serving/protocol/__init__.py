"""Open Inference Protocol v2 in and out, JSON and binary tensors. Knows nothing of Ray."""
