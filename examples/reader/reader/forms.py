"""The two forms of the site: a comment and an upload."""

from __future__ import annotations

from pathlib import PurePosixPath

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat

from reader.models import Comment


class CommentForm(forms.ModelForm):
    """A name and a few words."""

    class Meta:
        model = Comment
        fields = ["name", "text"]
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "text": forms.Textarea(attrs={"rows": 5}),
        }

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"]
        if text.lower().count("http") > 2:
            raise forms.ValidationError("At most two links, please.")
        return text


class UploadForm(forms.Form):
    """One file up to the size limit."""

    file = forms.FileField(label="File", allow_empty_file=True, max_length=200)

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        limit = settings.READER_UPLOAD_LIMIT_BYTES
        if (file.size or 0) > limit:
            raise forms.ValidationError(
                f"{PurePosixPath(file.name or '').name} has {filesizeformat(file.size)}; "
                f"at most {filesizeformat(limit)} are taken."
            )
        return file
