"""Numbers computed from a model or from its outcomes, as pure functions."""
