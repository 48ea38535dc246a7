"""Removes the file of a deleted upload, wherever it was deleted (page, admin, shell)."""

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from reader.models import Upload


@receiver(post_delete, sender=Upload)
def delete_file(instance: Upload, **_: object) -> None:
    """Waits for the commit: a rolled back delete must leave the file."""
    storage, name = instance.file.storage, instance.file.name
    transaction.on_commit(lambda: storage.delete(name))
