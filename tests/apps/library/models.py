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
