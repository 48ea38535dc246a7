"""The orders API, with django-rest-framework."""
