"""Owns a small Django site with static files, media and files that its views hand over.

Leaves what is on disk to the tests: everything lies below the working directory. ``SITE`` holds
further settings as JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import path

HERE = Path.cwd()

OWN = {
    "DEBUG": False,
    "SECRET_KEY": "not a secret",
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": __name__,
    "INSTALLED_APPS": ["django.contrib.staticfiles"],
    "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
    "STATIC_URL": "static/",
    "STATIC_ROOT": HERE / "collected",
    "STATICFILES_DIRS": [HERE / "sources"],
    "STORAGES": {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {
            "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        },
    },
    "MEDIA_URL": "/media/",
    "MEDIA_ROOT": HERE / "media",
}

if not settings.configured:
    settings.configure(**{**OWN, **json.loads(os.environ.get("SITE", "{}"))})
    django.setup()


def page(request: HttpRequest, rest: str = "") -> HttpResponse:
    """A page that says that Django was asked, and how."""
    return HttpResponse(f"django {request.method} {request.path}\n")


def sendfile(request: HttpRequest) -> HttpResponse:
    """A file by X-Sendfile."""
    response = HttpResponse(content_type=request.GET.get("type", "application/pdf"))
    response["X-Sendfile"] = request.GET["path"]
    response["X-Mine"] = "kept"
    return response


def accel(request: HttpRequest) -> HttpResponse:
    """A file by X-Accel-Redirect."""
    response = HttpResponse(content_type="text/plain")
    del response["Content-Type"]
    response["X-Accel-Redirect"] = request.GET["path"]
    response["X-Accel-Buffering"] = "no"
    return response


def handed(request: HttpRequest) -> HttpResponseBase:
    """A file by wsgi.file_wrapper, with a validator where one is asked for."""
    response = FileResponse(open(HERE / "private" / "doc.txt", "rb"))
    if "etag" in request.GET:
        response["ETag"] = request.GET["etag"]
    return response


def pid(request: HttpRequest) -> HttpResponse:
    """The number of this process."""
    return HttpResponse(str(os.getpid()))


urlpatterns = [
    path("", page),
    path("page/", page),
    path("sendfile", sendfile),
    path("accel", accel),
    path("handed", handed),
    path("pid", pid),
    path("static/page/<path:rest>", page),
]

application = get_wsgi_application()


def collect() -> None:
    """What ``manage.py collectstatic`` does."""
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)


if __name__ == "__main__":
    collect()
