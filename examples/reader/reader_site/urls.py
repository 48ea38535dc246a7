"""The addresses of the site: the reader, its API, login and the admin."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.contrib.staticfiles.views import serve as serve_static
from django.urls import include, path

urlpatterns = [
    path("", include("reader.urls")),
    path("api/", include("reader.api.urls")),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    # Canter itself answers what `collectstatic` has gathered. This is for a checkout where that has
    # not run, and for the tests; "insecure" only means: also with DEBUG off.
    path("static/<path:path>", serve_static, {"insecure": True}),
]
