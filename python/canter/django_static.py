"""Owns reading from Django's settings which static files the front may answer without the app, and
what the settings of WhiteNoise say of them.

Leaves serving them to the front. Settings are read, never changed; the text for the front is lines of
words separated by tabs, which ``crates/files/src/site.rs`` reads.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from canter import mounted, said

MOST_FILES = 100_000
"""Files that are shown to the project's own functions; those beyond it follow the usual rules."""

WHITENOISE = "whitenoise.middleware.WhiteNoiseMiddleware"
PREFIXES = ("WHITENOISE_", "SERVESTATIC_")


@dataclass
class Described:
    """What the front and people are told."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *words: object) -> None:
        """Add a line; one that cannot be written so is left out."""
        texts = [os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in words]
        if not any(set(text) & set("\t\r\n") for text in texts):
            self.lines.append("\t".join(texts))


def describe(*, static: bool, media: bool) -> Described:
    """What the settings of the Django site in this process say; nothing where there is none."""
    found = Described()
    settings = _settings()
    if settings is None:
        return found
    try:
        if static and _is_used(settings):
            _describe_static(settings, found)
        if static:
            _describe_sendfile(settings, found)
        if media:
            _describe_media(settings, found)
    except Exception as error:
        # The app has been imported: no setting about files shall keep it from being served.
        found.notes.append(f"settings about static files cannot be used: {error!r}")
    return found


def wrap(app: Callable[..., Any]) -> Callable[..., Any]:
    """Under ``DEBUG``, let the workers answer what Django's finders know and the front does not, as
    ``runserver`` does."""
    settings = _settings()
    if settings is None or not settings.DEBUG or not _is_used(settings):
        return app
    with contextlib.suppress(Exception):
        from django.contrib.staticfiles.handlers import StaticFilesHandler

        handler: Callable[..., Any] = StaticFilesHandler(app)
        return handler
    return app


def _settings() -> Any:
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return None
    return conf.settings


def _is_used(settings: Any) -> bool:
    apps = settings.INSTALLED_APPS
    is_app = any(str(app).startswith("django.contrib.staticfiles") for app in apps)
    return bool(settings.STATIC_URL) and (is_app or _own(settings, "ROOT") is not None)


def _own(settings: Any, name: str, default: Any = None) -> Any:
    """A setting of WhiteNoise, or of its fork."""
    for prefix in PREFIXES:
        if hasattr(settings, prefix + name):
            return getattr(settings, prefix + name)
    return default


def _describe_static(settings: Any, found: Described) -> None:
    is_fresh = bool(_own(settings, "AUTOREFRESH", settings.DEBUG))
    folders: list[tuple[str, str]] = []
    urls = _addresses(settings, _own(settings, "STATIC_PREFIX") or settings.STATIC_URL)
    if _own(settings, "USE_FINDERS", settings.DEBUG):
        folders += [(url + prefix, root) for url in urls for prefix, root in _finder_folders()]
    collected = settings.STATIC_ROOT
    public = _public("STATIC_ROOT", collected, settings, found)
    if public:
        folders += [(url, public) for url in urls]
        if not is_fresh and not _has_files(public):
            found.notes.append(
                f"STATIC_ROOT {str(collected)!r} is empty: collect the static files with "
                "`manage.py collectstatic`, or set WHITENOISE_USE_FINDERS"
            )
    elif not folders and not collected:
        found.notes.append(
            "STATIC_ROOT is not set, so no static files are served: set it and collect them with "
            "`manage.py collectstatic`, or set WHITENOISE_USE_FINDERS"
        )
    for url, folder in folders:
        found.add("static", url, folder)
    own_root = _public("WHITENOISE_ROOT", _own(settings, "ROOT"), settings, found)
    if own_root:
        found.add("root", "/", own_root)
        folders.append(("/", own_root))
    if not folders:
        return
    manifest = _manifest()
    if manifest:
        found.add("manifest", manifest)
    _describe_rules(settings, found, is_fresh)
    _ask_functions(settings, found, folders)
    if any(str(name) == WHITENOISE for name in settings.MIDDLEWARE):
        found.notes.append(
            "static files are answered before Django sees the request: "
            "WhiteNoiseMiddleware may be dropped from MIDDLEWARE"
        )


def _public(name: str, folder: Any, settings: Any, found: Described) -> str | None:
    """The whole name of a folder that a setting names, if all in it may be public."""
    if not folder:
        return None
    root: str = os.path.abspath(folder)
    module = sys.modules.get(str(getattr(settings, "SETTINGS_MODULE", "")))
    if os.path.exists(os.path.join(root, "manage.py")):
        secret = "manage.py"
    elif _is_below(getattr(module, "__file__", None), root):
        secret = "the settings"
    else:
        if name != "MEDIA_ROOT" and _is_below(settings.MEDIA_ROOT, root):
            found.notes.append(
                f"{name} {str(folder)!r} holds MEDIA_ROOT: whoever knows the name of an upload gets it there, too; "
                "keep them apart"
            )
        return root
    found.notes.append(
        f"{name} {str(folder)!r} holds {secret}, which would be public: nothing of it is served; "
        f"set {name} to a folder for {'uploads' if name == 'MEDIA_ROOT' else 'static files'} alone"
    )
    return None


def _is_below(path: Any, root: str) -> bool:
    if not path:
        return False
    inside: str = os.path.realpath(path) + os.sep
    return inside.startswith(os.path.realpath(root).rstrip(os.sep) + os.sep)


def _addresses(settings: Any, url: str) -> list[str]:
    """The path of ``STATIC_URL``, which may name another host that fetches files from here, with
    and without the prefix that a proxy may take off."""
    path = "/" + urlsplit(str(url)).path.strip("/") + "/"
    if path == "//":
        return []
    prefix = "/" + (settings.FORCE_SCRIPT_NAME or mounted.script_name()).strip("/")
    found = [path]
    if prefix != "/" and path.startswith(prefix + "/") and path != prefix + "/":
        found.append(path[len(prefix) :])
    return found


def _finder_folders() -> Iterator[tuple[str, str]]:
    """Prefix and folder of each storage of Django's finders, in their order."""
    try:
        from django.contrib.staticfiles.finders import get_finders

        for finder in get_finders():
            for storage in getattr(finder, "storages", {}).values():
                prefix = (getattr(storage, "prefix", None) or "").strip("/")
                location = getattr(storage, "location", None)
                if location:
                    yield prefix + "/" if prefix else "", os.path.abspath(location)
    except Exception as error:
        # Settings that the finders refuse are Django's to explain, when somebody uses them.
        said.say(f"static files cannot be looked for: {error}", level="warn")


def _has_files(folder: str | os.PathLike[str]) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return any(True for _ in entries)
    return False


def _manifest() -> str | None:
    """Where the storage keeps its list of hashed names."""
    try:
        from django.contrib.staticfiles.storage import staticfiles_storage

        name = getattr(staticfiles_storage, "manifest_name", None)
        storage = getattr(staticfiles_storage, "manifest_storage", staticfiles_storage)
        return os.path.abspath(storage.path(name)) if name else None
    except Exception:
        # A storage that is elsewhere has no path here.
        return None


def _describe_rules(settings: Any, found: Described, is_fresh: bool) -> None:
    max_age = _own(settings, "MAX_AGE", 0 if settings.DEBUG else 60)
    found.add("max-age", "none" if max_age is None else int(max_age))
    found.add("cors", "all" if _own(settings, "ALLOW_ALL_ORIGINS", True) else "none")
    index = _own(settings, "INDEX_FILE", False)
    if index:
        found.add("index", index if isinstance(index, str) else "index.html")
    types = _own(settings, "MIMETYPES")
    if isinstance(types, Mapping):
        for name, kind in types.items():
            found.add("type", name, kind)
    found.add("charset", _own(settings, "CHARSET", "utf-8"))
    security = "django.middleware.security.SecurityMiddleware"
    if security in settings.MIDDLEWARE and settings.SECURE_CONTENT_TYPE_NOSNIFF:
        found.add("nosniff", 1)
    if is_fresh:
        found.add("fresh", 1)


def _ask_functions(settings: Any, found: Described, folders: list[tuple[str, str]]) -> None:
    """Run the project's own rules for files once for each file there is."""
    test = _own(settings, "IMMUTABLE_FILE_TEST")
    add_fields = _own(settings, "ADD_HEADERS_FUNCTION")
    if isinstance(test, str):
        pattern = re.compile(test)

        def test(_path: str, url: str) -> bool:
            return pattern.search(url) is not None

    if not callable(test) and not callable(add_fields):
        return
    for count, (path, url) in enumerate(_files(folders)):
        if count >= MOST_FILES:
            break
        try:
            if callable(test) and test(path, url):
                found.add("immutable", url)
            if callable(add_fields):
                fields = Message()
                add_fields(fields, path, url)
                for name, value in fields.items():
                    found.add("field", url, name, value)
        except Exception as error:
            found.notes.append(f"a rule of the settings for static files failed on {url}: {error!r}")
            return


def _files(folders: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for url, folder in folders:
        for where, below, names in os.walk(folder):
            below.sort()
            for name in sorted(names):
                path = os.path.join(where, name)
                yield path, url + os.path.relpath(path, folder).replace(os.sep, "/")


def _describe_sendfile(settings: Any, found: Described) -> None:
    """What django-sendfile2 has been told."""
    folder = getattr(settings, "SENDFILE_ROOT", None)
    url = getattr(settings, "SENDFILE_URL", None)
    if folder:
        found.add("sendfile", os.path.abspath(folder))
        if url:
            found.add("internal", "/" + str(url).strip("/") + "/", os.path.abspath(folder))


def _describe_media(settings: Any, found: Described) -> None:
    folder = getattr(settings, "MEDIA_ROOT", None)
    urls = _addresses(settings, settings.MEDIA_URL) if settings.MEDIA_URL else []
    if not folder or not urls:
        found.notes.append("--media auto has no effect: MEDIA_ROOT or MEDIA_URL is not set")
        return
    public = _public("MEDIA_ROOT", folder, settings, found)
    for url in urls if public else ():
        found.add("media", url, public)


def main() -> int:
    """Print ``STATIC_ROOT`` of the project in the working directory."""
    from canter import project

    try:
        # What the project prints is no folder.
        with contextlib.redirect_stdout(sys.stderr):
            project.load_app(os.getcwd())
            from django.conf import settings

            folder = settings.STATIC_ROOT
    except Exception as error:
        print(f"canter: {error}", file=sys.stderr)
        return 1
    if not folder:
        print("canter: STATIC_ROOT is not set", file=sys.stderr)
        return 1
    print(os.path.abspath(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
