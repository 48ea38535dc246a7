"""A Django site over the models of ``collected``, and a view for each way in which a library's relation is followed
from row to row. Owns views; leaves what is to be said of them to ``test_advice_libraries.py``.
"""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"],
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "guardian",
        "mptt",
        "parler",
        "polymorphic",
        "taggit",
        "treebeard",
        "collected",
    ],
    LANGUAGE_CODE="en",
    LANGUAGES=[("en", "English")],
    PARLER_LANGUAGES={1: ({"code": "en"},), "default": {"fallbacks": ["en"], "hide_untranslated": False}},
    PARLER_ENABLE_CACHING=False,
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    SITE_ID=1,
)
django.setup()

from collected.models import Art, Article, Branch, Category, Leaflet, Photo, Project, Research, Sheet, Task
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from guardian.shortcuts import assign_perm

ALL = (Article, Photo, Photo.labels.through, Project, Art, Research, Task, Category, Branch, Leaflet, Sheet)
ALL += (Leaflet._parler_meta.root_model,)


def fill() -> None:
    """Tables, and eight of everything."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in ALL:
            editor.create_model(model)
    user = User.objects.create(username="u")
    top = Category.objects.create(name="top")
    root = Branch.add_root(name="root")
    for n in range(8):
        article = Article.objects.create(title=f"a{n}")
        article.tags.add("red", f"t{n}")
        Photo.objects.create(title=f"p{n}").labels.add("blue", f"t{n}")
        kind = Art(topic=f"t{n}", artist="x") if n % 2 else Research(topic=f"t{n}", supervisor="y")
        kind.save()
        Task.objects.create(project=kind)
        Category.objects.create(name=f"c{n}", parent=top)
        branch = root.add_child(name=f"b{n}")
        leaflet = Leaflet.objects.create(branch=branch, title=f"l{n}")
        Sheet.objects.create(leaflet=leaflet)
        assign_perm("collected.change_article", user, article)


# --- one question for each row


def tagged(articles: Any) -> Any:
    return [sorted(tag.name for tag in article.tags.all()) for article in articles]


def tag_names(articles: Any) -> Any:
    return [sorted(article.tags.names()) for article in articles]


def labelled(photos: Any) -> Any:
    return [sorted(tag.name for tag in photo.labels.all()) for photo in photos]


def tagged_red(articles: Any) -> Any:
    return [article.tags.filter(name="red").count() for article in articles]


def kinds(tasks: Any) -> Any:
    return [str(task.project.get_real_instance()) for task in tasks]


def back_to_kinds(projects: Any) -> Any:
    return [len(project.tasks.all()) for project in projects]


def children(categories: Any) -> Any:
    return [[child.name for child in category.get_children()] for category in categories]


def parents(categories: Any) -> Any:
    return [category.parent.name for category in categories if category.parent_id]


def ancestors(categories: Any) -> Any:
    return [[it.name for it in category.get_ancestors()] for category in categories]


def branches(leaflets: Any) -> Any:
    return [leaflet.branch.name for leaflet in leaflets]


def branch_parents(branches: Any) -> Any:
    return [branch.get_parent().name for branch in branches]


def branch_children(branches: Any) -> Any:
    return [[it.name for it in branch.get_children()] for branch in branches]


def translated(leaflets: Any) -> Any:
    return [leaflet.title for leaflet in leaflets]


def translated_further(sheets: Any) -> Any:
    return [sheet.leaflet.title for sheet in sheets]


def permitted(articles: Any) -> Any:
    user = User.objects.get(username="u")
    return [user.has_perm("collected.change_article", article) for article in articles]


LOOPS: dict[str, tuple[Any, str]] = {
    "tagged": (tagged, "Article.objects.all()"),
    "tag_names": (tag_names, "Article.objects.all()"),
    "labelled": (labelled, "Photo.objects.all()"),
    "tagged_red": (tagged_red, "Article.objects.all()"),
    "kinds": (kinds, "Task.objects.all()"),
    "back_to_kinds": (back_to_kinds, "Project.objects.all()"),
    "children": (children, "Category.objects.all()"),
    "parents": (parents, "Category.objects.all()"),
    "ancestors": (ancestors, "Category.objects.all()"),
    "branches": (branches, "Leaflet.objects.all()"),
    "branch_parents": (branch_parents, "Branch.objects.filter(depth=2)"),
    "branch_children": (branch_children, "Branch.objects.all()"),
    "translated": (translated, "Leaflet.objects.all()"),
    "translated_further": (translated_further, "Sheet.objects.all()"),
    "permitted": (permitted, "Article.objects.all()"),
}


def loop(request: HttpRequest, name: str) -> HttpResponse:
    """Runs one, over the rows of its own expression or of that in ``?rows=``."""
    run, rows = LOOPS[name]
    names = {model.__name__: model for model in ALL}
    return HttpResponse(str(run(eval(request.GET.get("rows", rows), names))))


urlpatterns = [path("<name>/", loop)]
