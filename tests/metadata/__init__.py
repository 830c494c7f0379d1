"""Tests of what files say about how they were trained."""
