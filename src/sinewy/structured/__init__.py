"""Structured sparsity: channels that leave a network together, and their physical removal. Loads no torch."""
