"""The Django site of ``relations`` on MariaDB, whose socket the environment names as ``MARIADB``. Owns views
in its SQL; leaves what is expected to ``test_insight_mariadb.py``.
"""

from __future__ import annotations

import pymysql

# What Django asks for is mysqlclient, which has no wheel; this one is like it from there on.
pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.install_as_MySQLdb()

import relations
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path


def quoted(request: HttpRequest) -> HttpResponse:
    """Values in all quotes there are: a backslash escapes, and double quotes hold strings."""
    with connection.cursor() as cursor:
        for number in range(6):
            cursor.execute(
                rf"""SELECT "a \" hunter2 {number}", 'b \' hunter2 {number}', 'c '' hunter2', 0x68756e, `name` # hunter2
                FROM `library_author` WHERE `id` = {number} OR `name` = "hunter2" /* hunter2 */ LIMIT 1"""
            )
            cursor.fetchall()
    return HttpResponse("quoted")


def wrong(request: HttpRequest) -> HttpResponse:
    """A statement that fails."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO `nowhere` VALUES ('hunter2')")
    return HttpResponse("wrong")


relations.urlpatterns[:0] = [path("quoted", quoted), path("wrong", wrong)]
application = get_wsgi_application()
