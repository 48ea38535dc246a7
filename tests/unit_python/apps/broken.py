"""Owns an app that cannot be imported."""

raise RuntimeError("broken while it was imported")
