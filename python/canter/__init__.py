"""Canter serves a Django site, or any WSGI app, from one command: ``canter serve mysite.wsgi``.

Owns the version. Importing this package has no effect; the work is in the modules that the
program ``canter`` starts.
"""

__version__ = "0.1.0"
