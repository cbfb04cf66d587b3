"""The contract between training and serving: one folder, versioned, digested, with golden rows.

Light on purpose: nothing in here imports torch or ray.
"""
