"""Which layers of a model a network adapts, what they are called in files, and how large each one's change is."""
