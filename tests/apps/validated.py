"""Owns the app of ``rows`` as ``wsgiref.validate`` lets it through: any breach of PEP 3333, by app
or server, is an AssertionError.
"""

from __future__ import annotations

from wsgiref.validate import validator

import rows

application = validator(rows.application)
