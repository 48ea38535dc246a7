"""Where each view of the comparison answers."""

from __future__ import annotations

from django.urls import path

from dj import views

urlpatterns = [
    path("hello", views.hello),
    path("page", views.page),
    path("echo", views.echo),
    path("api", views.api),
    path("db", views.db),
    path("cpu", views.cpu),
]
