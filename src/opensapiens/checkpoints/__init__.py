"""Weights on disk: our model folders, and the names that tensors have in the published files."""
