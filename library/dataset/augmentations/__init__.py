"""Random changes of pictures, and masks."""
