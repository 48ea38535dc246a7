"""The WSGI entry point that every server of the comparison is given."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dj.settings")

application = get_wsgi_application()
