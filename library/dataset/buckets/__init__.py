"""The size at which an image is trained, and how it gets there."""
