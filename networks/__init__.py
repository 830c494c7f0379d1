"""Networks that are trained on top of a frozen base model, one kind per module."""
