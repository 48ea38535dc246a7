"""Owns a small Django site whose pages are public, personal, or in a language, with sessions, messages
and protection against forged requests as Django has them.

Leaves page rules to the tests. ``SITE`` holds further settings as JSON.
"""

from __future__ import annotations

import itertools
import json
import os

import django
from django.conf import settings
from django.contrib import messages
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.utils.translation import get_language
from django.views.decorators.cache import cache_page

OWN = {
    "DEBUG": False,
    "SECRET_KEY": "not a secret",
    "ALLOWED_HOSTS": ["test", "other"],
    "ROOT_URLCONF": __name__,
    "INSTALLED_APPS": ["django.contrib.sessions", "django.contrib.messages"],
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "SESSION_COOKIE_NAME": "seat",
    "LANGUAGES": [("en", "English"), ("de", "Deutsch")],
    "LANGUAGE_CODE": "en",
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
}

if not settings.configured:
    settings.configure(**{**OWN, **json.loads(os.environ.get("SITE", "{}"))})
    django.setup()

COUNT = itertools.count(1)


def page(request: HttpRequest, rest: str = "") -> HttpResponse:
    """A page for everybody."""
    cookies = ",".join(sorted(request.COOKIES))
    return HttpResponse(f"{next(COUNT)} {get_language()} {request.get_host()} [{cookies}]")


def visit(request: HttpRequest) -> HttpResponse:
    """A page that counts in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"{next(COUNT)} visits={request.session['visits']}")


def looked(request: HttpRequest) -> HttpResponse:
    """A page that looks whether there is a session."""
    return HttpResponse(f"{next(COUNT)} user={request.session.get('user', 'nobody')}")


def form(request: HttpRequest) -> HttpResponse:
    """A page with a token."""
    return HttpResponse(f"{next(COUNT)} token={get_token(request)}")


def said(request: HttpRequest) -> HttpResponse:
    """A page that leaves a message for the next one."""
    messages.info(request, "hello")
    return HttpResponse(f"{next(COUNT)}")


@cache_page(60)
def own(request: HttpRequest) -> HttpResponse:
    """A page with Django's own cache."""
    return HttpResponse(f"{next(COUNT)} own")


urlpatterns = [
    path("visit/", visit),
    path("looked/", looked),
    path("form/", form),
    path("said/", said),
    path("own/", own),
    path("<path:rest>", page),
]
application = get_wsgi_application()
