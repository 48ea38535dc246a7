#!/usr/bin/env python
"""Runs the site's management commands.

Commands are for development, so DEBUG is on here unless READER_DEBUG says otherwise. A server
imports `reader_site.wsgi` instead and gets DEBUG off.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reader_site.settings")
    os.environ.setdefault("READER_DEBUG", "1")
    execute_from_command_line(sys.argv)
