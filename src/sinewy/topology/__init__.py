"""The graph that a layer's mask is: how it may begin, and where its next link belongs."""

INITIAL_GRAPHS: dict[str, str] = {
    "random": "sinewy.topology.initial:random_graph",
    "small-world": "sinewy.topology.initial:small_world",
    "scale-free": "sinewy.topology.initial:scale_free",
    "correlated": "sinewy.topology.initial:correlated",
}

LINK_SCORES: dict[str, str] = {
    "CH3-L3": "sinewy.topology.link_scores:ch3",
    "CH2-L3": "sinewy.topology.link_scores:ch2",
    "RA-L3": "sinewy.topology.link_scores:ra",
}
"""Each name stands for the weight of one neuron between the two that a new link would join; see `link_scores`."""
