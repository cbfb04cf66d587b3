"""Data: sources -> one checked, fingerprinted table -> parts -> tensors."""
