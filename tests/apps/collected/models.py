"""Owns models that are made with the libraries that Django sites use most. Leaves what is asked of them to
``borrowed``.
"""

from __future__ import annotations

from django.db import models
from mptt.models import MPTTModel, TreeForeignKey
from parler.models import TranslatableModel, TranslatedFields
from polymorphic.models import PolymorphicModel
from taggit.managers import TaggableManager
from taggit.models import TaggedItemBase
from treebeard.mp_tree import MP_Node


class Article(models.Model):
    title = models.CharField(max_length=50)
    tags = TaggableManager()


class Marked(TaggedItemBase):
    content_object = models.ForeignKey("Photo", models.CASCADE)


class Photo(models.Model):
    """Its tags are in a table of its own."""

    title = models.CharField(max_length=50)
    labels = TaggableManager(through=Marked)


class Project(PolymorphicModel):
    topic = models.CharField(max_length=30)


class Art(Project):
    artist = models.CharField(max_length=30)


class Research(Project):
    supervisor = models.CharField(max_length=30)


class Task(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="tasks")


class Category(MPTTModel):
    name = models.CharField(max_length=50)
    parent = TreeForeignKey("self", models.CASCADE, null=True, related_name="children")


class Branch(MP_Node):
    name = models.CharField(max_length=50)


class Leaflet(TranslatableModel):
    branch = models.ForeignKey(Branch, models.CASCADE, null=True)
    translations = TranslatedFields(title=models.CharField(max_length=50))


class Sheet(models.Model):
    leaflet = models.ForeignKey(Leaflet, models.CASCADE)
