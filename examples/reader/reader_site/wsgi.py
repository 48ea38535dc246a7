"""The WSGI entry: ``reader_site.wsgi:application``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reader_site.settings")
application = get_wsgi_application()
