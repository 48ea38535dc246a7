"""`manage.py load_topics`: renders Python's help topics into the database."""

from __future__ import annotations

from pydoc_data.topics import topics as python_topics

from django.core.management.base import BaseCommand

from reader import topics


class Command(BaseCommand):
    """Runs again whenever the renderer or the Python version changes."""

    help = "Loads the help topics of this Python (pydoc_data.topics), each rendered to HTML."

    def handle(self, *_args: object, **_options: object) -> None:
        self.stdout.write(f"{topics.load(python_topics)} topics loaded")
