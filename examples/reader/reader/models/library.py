"""Topics, the comments on them, and uploaded files."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.validators import MinLengthValidator
from django.db import models
from django.urls import reverse


class Topic(models.Model):
    """A help topic: its source, and the page it was rendered to when it was loaded."""

    slug = models.SlugField(unique=True, max_length=80)
    title = models.CharField(max_length=200)
    title_html = models.CharField(max_length=400)
    source = models.TextField()
    body_html = models.TextField()
    sections = models.JSONField(default=list, help_text="Pairs of anchor and title.")
    words = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["title", "slug"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("topic", args=[self.slug])


class Comment(models.Model):
    """What a visitor says about a topic. Shown at once; an admin can hide it."""

    topic = models.ForeignKey(Topic, on_delete=models.CASCADE, related_name="comments")
    name = models.CharField("Your name", max_length=60)
    text = models.TextField("Your comment", max_length=2000, validators=[MinLengthValidator(3)])
    created = models.DateTimeField(auto_now_add=True)
    is_hidden = models.BooleanField("hidden", default=False)

    class Meta:
        ordering = ["created", "pk"]

    def __str__(self) -> str:
        return f"{self.name} on {self.topic_id}"


def private_name(_upload: Upload, _filename: str) -> str:
    """Files are stored under a random name: a visitor's file name never becomes a path."""
    return secrets.token_hex(16)


class Upload(models.Model):
    """A file somebody sent, under the name it had there."""

    file = models.FileField(upload_to=private_name)
    name = models.CharField(max_length=200)
    size = models.PositiveBigIntegerField("size in bytes")
    created = models.DateTimeField(auto_now_add=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads"
    )

    class Meta:
        ordering = ["-created", "-pk"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("download", args=[self.pk])
