"""Settings of the demo site.

Everything that differs between machines comes from the environment:

    READER_DEBUG         1 or 0; on under manage.py, off under a server
    READER_HOST          further host names, separated by commas
    READER_SECRET_KEY    else a key is made once and kept in var/secret_key
    READER_UPSTREAM_URL  the slow API behind /slow/ (http://127.0.0.1:8100/)
    DATABASE_URL         PostgreSQL, see database.py; else var/reader.sqlite3
"""

import os
from pathlib import Path

from reader_site import database, secret

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)

# Off under a server: DEBUG keeps every query in memory, and the numbers would not be honest.
DEBUG = os.environ.get("READER_DEBUG", "0").lower() in ("1", "true", "yes", "on")
SECRET_KEY = os.environ.get("READER_SECRET_KEY") or secret.key_in(VAR_DIR / "secret_key")

_OWN_HOSTS = [host for host in os.environ.get("READER_HOST", "").split(",") if host]
ALLOWED_HOSTS = ["localhost", ".localhost", "127.0.0.1", "[::1]", *_OWN_HOSTS]
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in _OWN_HOSTS]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "reader",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "reader_site.urls"
WSGI_APPLICATION = "reader_site.wsgi.application"

DATABASES = {
    "default": (
        database.from_url(os.environ["DATABASE_URL"])
        if os.environ.get("DATABASE_URL")
        else database.sqlite(VAR_DIR / "reader.sqlite3")
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "reader_site.storage.HashedOnceCollected"},
}
MEDIA_ROOT = VAR_DIR / "uploads"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

REST_FRAMEWORK = {
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "PAGE_SIZE": 20,
}

READER_UPSTREAM_URL = os.environ.get("READER_UPSTREAM_URL", "http://127.0.0.1:8100/")
READER_UPSTREAM_TIMEOUT_SECONDS = 15
READER_UPLOAD_LIMIT_BYTES = 64 * 1024 * 1024

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}
