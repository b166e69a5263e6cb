"""Sparsifiers: what is pruned, when, and what grows back."""

SPARSIFIERS: dict[str, str] = {
    "dense": "sinewy.sparsify.static:Dense",
    "static": "sinewy.sparsify.static:Static",
    "set": "sinewy.sparsify.dynamic:SET",
    "rigl": "sinewy.sparsify.dynamic:RigL",
}
