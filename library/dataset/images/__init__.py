"""Image files: what they are, their sizes, their pixels."""
