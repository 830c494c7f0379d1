"""Captions: from files to what an exposure is trained with."""
