"""Train sparse neural networks, and audit what the sparsity cost or gained beyond test accuracy."""

__version__ = "0.1.0"
