"""How far a trained network can be pruned before it breaks. Importing this loads no torch."""
