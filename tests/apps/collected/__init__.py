"""Owns a small Django app with every kind of relation. Leaves its views to ``relations``."""
