"""Uploads: the list, sending a file, fetching it again, deleting it."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from reader.forms import UploadForm
from reader.models import Upload

LISTED = 100


@require_http_methods(["GET", "HEAD", "POST"])
def file_list(request: HttpRequest) -> HttpResponse:
    """Everybody sees the list and may download; sending a file needs a login."""
    if request.method == "POST" and not request.user.is_authenticated:
        return redirect_to_login(request.path)
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        upload = Upload.objects.create(
            file=file, name=file.name, size=file.size, owner=request.user
        )
        messages.success(request, f"{upload.name} is here.")
        return redirect("files")
    context = {
        "form": form,
        "uploads": Upload.objects.select_related("owner")[:LISTED],
        "limit": settings.READER_UPLOAD_LIMIT_BYTES,
    }
    return render(request, "reader/files.html", context, status=422 if form.errors else 200)


@require_safe
def download(_request: HttpRequest, pk: int) -> FileResponse:
    """Sends the file.

    FileResponse hands the open file to the server's `wsgi.file_wrapper` (PEP 3333), which may
    send it without Python reading it. Always as an attachment: an uploaded HTML page must not run
    as a page of this site.
    """
    upload = get_object_or_404(Upload, pk=pk)
    return FileResponse(upload.file.open("rb"), as_attachment=True, filename=upload.name)


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Deletes a file of the visitor's own; staff may delete any."""
    upload = get_object_or_404(Upload, pk=pk)
    if upload.owner_id != request.user.pk and not request.user.is_staff:
        raise PermissionDenied
    upload.delete()
    messages.success(request, f"{upload.name} is deleted.")
    return redirect("files")
