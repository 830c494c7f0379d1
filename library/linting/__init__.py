"""Faults of a dataset that training would not stop for: what is wrong with its images, captions and masks."""
