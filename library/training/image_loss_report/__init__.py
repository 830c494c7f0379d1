"""The losses of single images: the table that a run writes, and what it says about the images."""
