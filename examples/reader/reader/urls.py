"""The addresses of the app."""

from django.urls import path

from reader.views import files, pages, shop, work

urlpatterns = [
    path("", pages.home, name="home"),
    path("topics/", pages.topic_list, name="topics"),
    path("topics/<slug:slug>/", pages.topic, name="topic"),
    path("search/", pages.search_topics, name="search"),
    path("recent/", pages.recent, name="recent"),
    path("customers/", shop.customers, name="customers"),
    path("hello/", pages.hello, name="hello"),
    path("files/", files.file_list, name="files"),
    path("files/<int:pk>/", files.download, name="download"),
    path("files/<int:pk>/delete/", files.delete, name="delete-file"),
    path("slow/", work.slow, name="slow"),
    path("stream/", work.stream, name="stream"),
    path("events/", work.events, name="events"),
    path("events/page/", work.events_page, name="events-page"),
    path("compute/", work.compute, name="compute"),
]
