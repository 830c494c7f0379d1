"""The layers that networks are made of, and the arithmetic of their forward and backward passes."""
