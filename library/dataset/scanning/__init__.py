"""Which images and captions a run has."""
