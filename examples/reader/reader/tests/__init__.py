"""The site's own tests: ``python manage.py test``."""

import logging

# The tests ask for refusals on purpose; a log of them would hide a real failure.
for _name in ("django.request", "django.security"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
