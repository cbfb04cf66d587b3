"""Who gives a training its machines: this process, or the workers of Ray Train. They share orders, records and care."""
