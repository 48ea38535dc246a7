"""Owns models with every kind of relation. Leaves what is asked of them to ``relations``."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Country(models.Model):
    name = models.CharField(max_length=50)


class Publisher(models.Model):
    name = models.CharField(max_length=50)
    country = models.ForeignKey(Country, models.CASCADE)


class Author(models.Model):
    name = models.CharField(max_length=50)
    notes = models.TextField(default="")
    reviews = GenericRelation("Review", "key", "kind")


class Profile(models.Model):
    author = models.OneToOneField(Author, models.CASCADE, related_name="profile")
    text = models.TextField(default="")


class Shown(models.Manager):
    """Leaves out what is hidden."""

    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset().filter(hidden=False)


class Room(models.Model):
    name = models.CharField(max_length=50)
    hidden = models.BooleanField(default=False)
    shown = Shown()

    class Meta:
        base_manager_name = "shown"


class Note(models.Model):
    """Some are hidden from all."""

    author = models.ForeignKey(Author, models.CASCADE, related_name="marks")
    text = models.TextField(default="")
    hidden = models.BooleanField(default=False)
    objects = Shown()
    every = models.Manager()


class Shelf(models.Model):
    """With a manager of another name."""

    author = models.ForeignKey(Author, models.CASCADE)
    room = models.ForeignKey(Room, models.CASCADE, related_name="shelves")
    books_count = models.IntegerField(default=0)
    books = models.ManyToManyField("Book", related_name="shelves")
    stock = models.Manager()


class Tag(models.Model):
    name = models.CharField(max_length=50)


class Book(models.Model):
    title = models.CharField(max_length=50)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    publisher = models.ForeignKey(Publisher, models.CASCADE)
    tags = models.ManyToManyField(Tag, related_name="books")


class Review(models.Model):
    kind = models.ForeignKey(ContentType, models.CASCADE)
    key = models.PositiveIntegerField()
    about = GenericForeignKey("kind", "key")


class Person(models.Model):
    name = models.CharField(max_length=50)
    follows = models.ManyToManyField("self", symmetrical=False, related_name="followers")


class Team(models.Model):
    captain = models.ForeignKey(Person, models.CASCADE, related_name="+")
    players = models.ManyToManyField(Person, related_name="teams")


class Club(models.Model):
    members = models.ManyToManyField(Person, related_name="clubs")
    leaders = models.ManyToManyField(Person, related_name="led")
