"""Owns a small Django app that is made with the libraries of others. Leaves its views to ``borrowed``."""
