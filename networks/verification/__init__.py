"""Checks of network files: what is in them, what it does to a model, and whether it is what was trained."""
