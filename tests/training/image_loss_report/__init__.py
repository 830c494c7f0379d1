"""Tests of the report on the losses of single images."""
