"""`manage.py setup_demo`: everything the demo needs, in one go and as often as you like."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from reader import samples

NAME = PASSWORD = "admin"  # noqa: S105 (that is why the command refuses to run in production)


class Command(BaseCommand):
    """Adds what is missing and leaves alone what is there, except that topics are rendered anew."""

    help = "Migrates, collects static files, loads the topics, and adds the user admin, sample orders and comments."

    def handle(self, *_args: object, **options: object) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "setup_demo makes a user with the password 'admin', so it only runs with DEBUG on: "
                "set READER_DEBUG=1 for a local demo. For a real site use `migrate`, "
                "`load_topics` and `createsuperuser`."
            )
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        call_command("load_topics", stdout=self.stdout)
        self._add_user()
        if added := samples.add_comments():
            self.stdout.write(f"{added} sample comments added")
        if added := samples.add_orders(timezone.now()):
            self.stdout.write(f"{added} sample orders added")
        self.stdout.write(self.style.SUCCESS("The demo is ready."))

    def _add_user(self) -> None:
        users = get_user_model().objects
        if users.filter(username=NAME).exists():
            self.stdout.write(f"user {NAME} is there already, with the password it had")
            return
        users.create_superuser(NAME, "admin@example.com", PASSWORD)
        self.stdout.write(f"user {NAME} added, password {PASSWORD} (keep this site local)")
