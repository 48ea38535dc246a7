"""Home, topics with comments, search, recent orders, hello."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from reader import search
from reader.forms import CommentForm
from reader.models import Order, Topic

RECENT_ROWS = 50
RESULTS_PER_PAGE = 20


@require_safe
def hello(_request: HttpRequest) -> HttpResponse:
    """The least a Django view can do; the benchmark's "Django hello"."""
    return HttpResponse("Hello, world!\n", content_type="text/plain; charset=utf-8")


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What there is to try."""
    return render(request, "reader/home.html")


@require_safe
def topic_list(request: HttpRequest) -> HttpResponse:
    """All topics, by first letter."""
    topics = Topic.objects.only("slug", "title", "title_html", "words")
    by_letter = sorted(topics, key=lambda topic: (_letter(topic), topic.title.lower()))
    groups = [(letter, list(found)) for letter, found in groupby(by_letter, key=_letter)]
    # Python has some pages under two names ("if" and "else"); the name tells them apart.
    titles = Counter(topic.title for topic in by_letter)
    context = {
        "groups": groups,
        "count": len(by_letter),
        "repeated": {title for title, times in titles.items() if times > 1},
    }
    return render(request, "reader/topic_list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def topic(request: HttpRequest, slug: str) -> HttpResponse:
    """A topic with its comments; a POST adds one."""
    found = get_object_or_404(Topic, slug=slug)
    form = CommentForm(request.POST or None, initial={"name": request.user.get_username()})
    if request.method == "POST" and form.is_valid():
        form.instance.topic = found
        comment = form.save()
        messages.success(request, "Thank you, your comment is below.")
        return redirect(f"{found.get_absolute_url()}#comment-{comment.pk}")
    context = {
        "topic": found,
        "comments": found.comments.filter(is_hidden=False),
        "form": form,
    }
    # 422: the form is shown again because of what was in it (RFC 9110 section 15.5.21).
    return render(request, "reader/topic.html", context, status=422 if form.errors else 200)


@require_safe
def search_topics(request: HttpRequest) -> HttpResponse:
    """Topics that match `?q=`, with the matches marked."""
    query = request.GET.get("q", "").replace("\x00", "").strip()
    page = Paginator(search.find(query), RESULTS_PER_PAGE).get_page(request.GET.get("page"))
    results = [
        {
            "topic": found,
            "title": search.highlight(found.title, query),
            "snippet": search.snippet(found, query),
        }
        for found in page
    ]
    return render(request, "reader/search.html", {"query": query, "page": page, "results": results})


@require_safe
def recent(request: HttpRequest) -> HttpResponse:
    """The 50 newest orders: one query, 50 rows; the benchmark's "ORM page"."""
    orders = Order.objects.select_related("customer")[:RECENT_ROWS]
    return render(request, "reader/recent.html", {"orders": orders})


def _letter(topic: Topic) -> str:
    """The letter a topic is filed under: "The try statement" under T as in try."""
    title = topic.title.removeprefix("The ").lstrip("\"'“")
    return title[:1].upper()
