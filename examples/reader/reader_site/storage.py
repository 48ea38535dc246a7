"""Static files with the hash of their content in their names, so that browsers may keep them."""

from __future__ import annotations

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, StaticFilesStorage


class HashedOnceCollected(ManifestStaticFilesStorage):
    """Hashed names once `collectstatic` has run, plain ones before: the tests, and whoever has only
    just fetched the site, need not collect first."""

    def url(self, name: str | None, force: bool = False) -> str:
        """The address of a file as a page names it."""
        if not self.hashed_files and not force:
            plain: str = StaticFilesStorage.url(self, name)
            return plain
        hashed: str = super().url(name, force)
        return hashed
