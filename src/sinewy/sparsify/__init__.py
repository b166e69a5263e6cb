"""Sparsifiers: what is pruned, when, and what grows back."""

SPARSIFIERS: dict[str, str] = {
    "dense": "sinewy.sparsify.static:Dense",
    "static": "sinewy.sparsify.static:Static",
    "fixed-capacity": "sinewy.sparsify.fixed_capacity:FixedCapacity",
    "set": "sinewy.sparsify.drop_grow:SET",
    "set-original": "sinewy.sparsify.drop_grow:SETOriginal",
    "rigl": "sinewy.sparsify.drop_grow:RigL",
    "mest": "sinewy.sparsify.drop_grow:MEST",
    "mest-original": "sinewy.sparsify.drop_grow:MESTOriginal",
    "granet": "sinewy.sparsify.drop_grow:GraNet",
    "granet-original": "sinewy.sparsify.drop_grow:GraNetOriginal",
    "gmp": "sinewy.sparsify.gradual:GradualMagnitude",
    "acdc": "sinewy.sparsify.gradual:ACDC",
    "snfs": "sinewy.sparsify.momentum:SNFS",
    "cht": "sinewy.sparsify.hebbian:CHT",
    "chts": "sinewy.sparsify.hebbian:CHTs",
    "topkast": "sinewy.sparsify.topkast:TopKAST",
}
