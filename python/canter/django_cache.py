"""Owns reading from Django's settings what the page cache must know: which cookies make a page
personal, which languages there are, which hosts are served, and whether ``DEBUG`` is on.

Leaves caching to the front. Settings are read, never changed; the text for the front is lines of words
separated by tabs, which ``crates/front/src/pages/site.rs`` reads.
"""

from __future__ import annotations

import sys
from typing import Any

from canter.django_static import Described

LOCALE = "django.middleware.locale.LocaleMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
UPDATE_CACHE = "django.middleware.cache.UpdateCacheMiddleware"

MESSAGES_COOKIE = "messages"
"""As ``django.contrib.messages.storage.cookie.CookieStorage`` has it."""


def describe() -> Described:
    """What the settings of the Django site in this process say; nothing where there is none."""
    found = Described()
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return found
    try:
        _describe(conf.settings, found)
    except Exception as error:
        # A setting that cannot be used must not let a personal page be shared.
        found.lines[:] = ["cache-debug\t1"]
        found.notes.append(f"pages are not cached: the settings cannot be used: {error!r}")
    return found


def _describe(settings: Any, found: Described) -> None:
    found.add("cache-django", 1)
    if settings.DEBUG:
        found.add("cache-debug", 1)
    found.add("cache-private-cookie", settings.SESSION_COOKIE_NAME)
    found.add("cache-private-cookie", _messages_cookie())
    found.add("cache-csrf-cookie", settings.CSRF_COOKIE_NAME)
    middleware = [str(name) for name in settings.MIDDLEWARE]
    if settings.USE_I18N and _has(middleware, LOCALE, "LocaleMiddleware"):
        found.add("cache-language-cookie", settings.LANGUAGE_COOKIE_NAME)
        found.add("cache-language-default", settings.LANGUAGE_CODE)
        _describe_languages(settings, found)
    for host in settings.ALLOWED_HOSTS:
        found.add("cache-host", host)
    if settings.USE_X_FORWARDED_HOST:
        found.add("cache-forwarded-host", 1)
    if UPDATE_CACHE in middleware:
        found.notes.append(
            "Django's cache middleware keeps pages in the workers; with a rule such as "
            '--cache-rule "/* ttl=60s" the front answers them without a worker'
        )


def _describe_languages(settings: Any, found: Described) -> None:
    """What ``get_supported_language_variant`` goes by."""
    from django.conf.locale import LANG_INFO
    from django.utils.translation import check_for_language

    with_words: list[str] = []
    for code, _name in settings.LANGUAGES:
        found.add("cache-language", code)
        if check_for_language(str(code).lower()):
            with_words.append(str(code).lower())
        else:
            found.add("cache-language-without-words", code)
    for code, info in LANG_INFO.items():
        for other in info.get("fallback", ()):
            found.add("cache-language-fallback", code, other)
    if _tries_shorter_tags(with_words):
        found.add("cache-language-shorter-tags", 1)


def _tries_shorter_tags(codes: list[str]) -> bool:
    """Whether ``zh-hant-tw`` is ``zh-hant`` where there is no ``zh``: it is in newer versions of Django."""
    from django.utils.translation import get_supported_language_variant

    code = next((code for code in codes if "-" in code), None)
    if code is None:
        return False
    try:
        return bool(get_supported_language_variant(f"{code}-zzzz", strict=True) == code)
    except LookupError:
        return False


def _has(middleware: list[str], name: str, ending: str) -> bool:
    """A subclass is mostly called after what it extends."""
    return name in middleware or any(path.endswith(ending) for path in middleware)


def _messages_cookie() -> str:
    try:
        from django.contrib.messages.storage.cookie import CookieStorage

        return str(CookieStorage.cookie_name)
    except Exception:
        return MESSAGES_COOKIE
