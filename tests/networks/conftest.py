"""Fixtures for network modules that are files of their own."""

import sys

import pytest


@pytest.fixture
def working_directory(tmp_path, monkeypatch):
    """A folder that users start the program in; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "mein Ordner ü"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]
