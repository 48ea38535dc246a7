"""Owns views as people write them, of every kind that Django and REST framework have: with a query for each row
somewhere, and without. Leaves what is to be said of them to ``test_insight_sites.py``.
"""

from __future__ import annotations

from typing import Any

import relations
from asgiref.sync import sync_to_async
from django.db import models
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.urls import path
from django.views.generic import DetailView, ListView, TemplateView
from library.models import Author, Book, Club, Person, Profile, Publisher, Review, Tag, Team
from rest_framework import pagination, routers, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from django.conf import settings

settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None}


class Membership(models.Model):
    """Between, with a word of its own."""

    person = models.ForeignKey(Person, models.CASCADE, related_name="memberships")
    circle = models.ForeignKey("Circle", models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, default="")

    class Meta:
        app_label = "library"


class Circle(models.Model):
    name = models.CharField(max_length=10)
    people = models.ManyToManyField(Person, through=Membership, related_name="circles")

    class Meta:
        app_label = "library"

    @property
    def first_names(self) -> str:
        return ",".join(membership.person.name for membership in self.memberships.all())


def prepare() -> None:
    relations.fill()
    with relations.connection.schema_editor() as editor:
        for model in (Circle, Membership):
            editor.create_model(model)
    people = list(Person.objects.all())
    for publisher in Publisher.objects.all()[:6]:
        Book.objects.create(title="more", author_id=1, publisher=publisher)
    for n in range(8):
        circle = Circle.objects.create(name=f"c{n}")
        for person in people[:6]:
            Membership.objects.create(circle=circle, person=person)


def page(text: str) -> Any:
    return engines["django"].from_string(text)


class Rendered:
    """Of a class-based view: a template in the code."""

    text = ""

    def render_to_response(self, context: Any, **_words: Any) -> HttpResponse:
        return HttpResponse(page(self.text).render(context))


# --- pages made by class-based views and templates


class BookList(Rendered, ListView):
    """With pages, that count the rows."""

    queryset = Book.objects.order_by("pk")
    paginate_by = 8
    text = """{% for book in object_list %}
    {% with house=book.publisher %}{{ house.country.name }}{% endwith %}
    {% for tag in book.tags.all %}{{ tag.name }}{% endfor %}
    {% endfor %}{{ page_obj.paginator.count }}"""


class AuthorDetail(Rendered, DetailView):
    model = Author
    text = "{{ author.name }}{% for book in author.books.all %}{{ book.publisher.name }}{% endfor %}"


class CircleDetail(Rendered, DetailView):
    """Its rows come from one row."""

    model = Circle
    text = "{% for it in circle.memberships.all %}{{ it.person.name }}{% endfor %}"


class Circles(Rendered, ListView):
    """Through a property of the model."""

    model = Circle
    text = "{% for circle in object_list %}{{ circle.first_names }}{% endfor %}"


class Through(Rendered, ListView):
    model = Circle
    text = "{% for circle in object_list %}{% for it in circle.people.all %}{{ it.name }}{% endfor %}{% endfor %}"


class Counts(Rendered, ListView):
    model = Author
    text = "{% for author in object_list %}{{ author.books.count }}{% if author.books.exists %}x{% endif %}{% endfor %}"


class Context(Rendered, TemplateView):
    """Asked for in the view, for the template."""

    text = "{% for name in names %}{{ name }}{% endfor %}"

    def get_context_data(self, **words: Any) -> Any:
        names = [profile.author.name for profile in Profile.objects.all()]
        return super().get_context_data(names=names, **words)


class Things(Rendered, ListView):
    """Of any kind, and further from there."""

    model = Review
    text = "{% for review in object_list %}{{ review.about.pk }}{% endfor %}"


class TeamList(Rendered, ListView):
    model = Team
    text = "{% for team in object_list %}{{ team.captain.name }}{{ team.players.all.0.name }}{% endfor %}"


# --- interfaces made with REST framework


class TagSerializer(serializers.ModelSerializer):
    class Meta:
        model = Tag
        fields = ["name"]


class BookSerializer(serializers.ModelSerializer):
    tags = TagSerializer(many=True)
    country = serializers.CharField(source="publisher.country.name")

    class Meta:
        model = Book
        fields = ["title", "tags", "country"]


class AuthorSerializer(serializers.ModelSerializer):
    books = BookSerializer(many=True)
    text = serializers.SerializerMethodField()
    newest = serializers.SerializerMethodField()

    class Meta:
        model = Author
        fields = ["name", "books", "text", "newest"]

    def get_text(self, author: Author) -> str:
        return author.profile.text

    def get_newest(self, author: Author) -> str:
        return author.books.order_by("-title").first().title


class FewPages(pagination.PageNumberPagination):
    page_size = 8


class AuthorViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Author.objects.order_by("pk")
    serializer_class = AuthorSerializer
    pagination_class = FewPages
    renderer_classes = [JSONRenderer]

    @action(detail=False)
    def names(self, _request: Any) -> Response:
        return Response([author.profile.text for author in self.get_queryset()])


class ReviewSerializer(serializers.ModelSerializer):
    class Meta:
        model = Review
        fields = ["pk", "about"]

    about = serializers.SerializerMethodField()

    def get_about(self, review: Review) -> str:
        return str(review.about.pk)


class ReviewViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Review.objects.order_by("pk")
    serializer_class = ReviewSerializer
    renderer_classes = [JSONRenderer]


# --- views that wait, and views that answer piece by piece


async def waiting(_request: HttpRequest) -> HttpResponse:
    names = []
    async for book in Book.objects.order_by("pk"):
        names.append(await sync_to_async(lambda book=book: book.author.name)())
    return HttpResponse(",".join(names))


async def asking(_request: HttpRequest) -> HttpResponse:
    names = []
    async for book in Book.objects.order_by("pk"):
        author = await Author.objects.aget(pk=book.author_id)
        names.append(author.name)
    return HttpResponse(",".join(names))


def streamed(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(f"{book.author.name}\n" for book in Book.objects.order_by("pk"))


# --- what is as it should be


class GoodBooks(BookList):
    queryset = Book.objects.select_related("publisher__country").prefetch_related("tags").order_by("pk")


class GoodCircles(Circles):
    queryset = Circle.objects.prefetch_related("memberships__person")


class GoodCounts(Rendered, ListView):
    queryset = Author.objects.annotate(n=models.Count("books"))
    text = "{% for author in object_list %}{{ author.n }}{% endfor %}"


class GoodPrefetch(Rendered, ListView):
    queryset = Author.objects.prefetch_related(Prefetch("books", Book.objects.filter(title="b1"), to_attr="some"))
    text = "{% for author in object_list %}{{ author.some|length }}{% endfor %}"


class GoodThings(Things):
    queryset = Review.objects.prefetch_related("about")


class GoodKeys(Rendered, TemplateView):
    text = "{{ found|length }}"

    def get_context_data(self, **words: Any) -> Any:
        keys = [book.author_id for book in Book.objects.all()]
        return super().get_context_data(found=Author.objects.in_bulk(keys), **words)


class FewRows(Rendered, ListView):
    """Three of them."""

    queryset = Book.objects.order_by("pk")[:3]
    text = "{% for book in object_list %}{{ book.author.name }}{% endfor %}"


class Sections(Rendered, TemplateView):
    """Several questions of one page, each at a line of its own, of which two are alike."""

    text = "{{ books|length }}{{ authors|length }}{{ clubs|length }}{{ people|length }}"

    def get_context_data(self, **words: Any) -> Any:
        return super().get_context_data(
            books=list(Book.objects.filter(author_id=1)),
            more=list(Book.objects.filter(author_id=2)),
            authors=list(Author.objects.all()),
            clubs=list(Club.objects.all()),
            people=list(Person.objects.all()),
            **words,
        )


GOOD = (GoodBooks, GoodCircles, GoodCounts, GoodPrefetch, GoodThings, GoodKeys, FewRows, Sections)

router = routers.SimpleRouter()
router.register("authors", AuthorViewSet)
router.register("reviews", ReviewViewSet)

relations.urlpatterns[:0] = [
    path("books/", BookList.as_view()),
    path("author/<pk>/", AuthorDetail.as_view()),
    path("circle/<pk>/", CircleDetail.as_view()),
    path("circles/", Circles.as_view()),
    path("through/", Through.as_view()),
    path("counts/", Counts.as_view()),
    path("context/", Context.as_view()),
    path("things/", Things.as_view()),
    path("teams/", TeamList.as_view()),
    path("waiting/", waiting),
    path("asking/", asking),
    path("streamed/", streamed),
    *(path(f"good/{view.__name__}/", view.as_view()) for view in GOOD),
    *router.urls,
]
