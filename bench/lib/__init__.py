"""The comparison's parts, one idea a file; `run.py` puts them together."""
