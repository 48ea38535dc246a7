"""The app: Python's help topics as pages, comments, uploads, an orders API, and pages that wait,
stream or compute."""
