"""Tells Django about the app."""

from django.apps import AppConfig


class ReaderConfig(AppConfig):
    """Connects the signal handlers once all models are there."""

    name = "reader"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Importing the module connects its handlers."""
        from reader import signals  # noqa: F401, PLC0415
