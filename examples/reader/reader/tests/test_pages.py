"""The pages that read the database: topics, comments, search, orders, admin."""

from __future__ import annotations

from io import StringIO

from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from reader import samples, search, topics
from reader.models import Comment, Customer, Order, Topic

SOURCES = {
    "calls": 'Calls\n*****\n\nA call calls a function.\n\nSee "try" below.',
    "try": 'The "try" statement\n*******************\n\nHandles an exception; see Calls.',
}


class PagesTest(TestCase):
    """Each page as a visitor sees it."""

    @classmethod
    def setUpTestData(cls) -> None:
        topics.load(SOURCES)
        samples.add_orders(timezone.now(), orders=60)

    def test_pages_without_parameters_answer(self) -> None:
        for path in ["/", "/topics/", "/search/", "/files/", "/login/", "/events/page/"]:
            with self.subTest(path):
                self.assertContains(self.client.get(path), "<h1>")

    def test_hello_asks_the_database_nothing(self) -> None:
        with self.assertNumQueries(0):
            self.assertEqual(self.client.get("/hello/").content, b"Hello, world!\n")

    def test_a_topic_shows_its_html_and_links_to_others(self) -> None:
        with self.assertNumQueries(2):
            answer = self.client.get("/topics/try/")
        self.assertContains(answer, "<h1>The <code>try</code> statement</h1>", html=True)
        self.assertContains(answer, '<a href="/topics/calls/">Calls</a>', html=True)

    def test_a_missing_topic_is_not_found(self) -> None:
        self.assertContains(self.client.get("/topics/nope/"), "Not found", status_code=404)

    def test_topics_are_filed_under_the_word_that_matters(self) -> None:
        groups = self.client.get("/topics/").context["groups"]
        self.assertEqual([letter for letter, _ in groups], ["C", "T"])

    def test_loading_again_updates_and_keeps_comments(self) -> None:
        calls = Topic.objects.get(slug="calls")
        Comment.objects.create(topic=calls, name="Ada", text="Yes.")
        topics.load({"calls": "Calls anew\n**********\n\nx"})
        self.assertEqual(Topic.objects.get(slug="calls").title, "Calls anew")
        self.assertEqual(calls.comments.count(), 1)

    def test_the_order_page_is_one_query_of_fifty_rows(self) -> None:
        with self.assertNumQueries(1):
            answer = self.client.get("/recent/")
        self.assertEqual(answer.content.count(b"<tr>"), 51)

    def test_the_admin_lists_and_shows_everything(self) -> None:
        user = get_user_model().objects.create_superuser("root", "r@example.com", "x")
        Comment.objects.create(topic=Topic.objects.first(), name="Ada", text="Yes.")
        self.client.force_login(user)
        for model in ["topic", "comment", "upload", "customer", "product", "order"]:
            with self.subTest(model):
                self.assertEqual(self.client.get(f"/admin/reader/{model}/").status_code, 200)
        order = Order.objects.first()
        self.assertContains(self.client.get(f"/admin/reader/order/{order.pk}/change/"), "lines-0")
        comment = Comment.objects.first()
        self.client.post(
            "/admin/reader/comment/", {"action": "hide", "_selected_action": [comment.pk]}
        )
        self.assertNotContains(self.client.get(comment.topic.get_absolute_url()), "Yes.")

    def test_static_files_are_served_without_debug(self) -> None:
        for path in ["reader/site.css", "admin/css/base.css"]:
            answer = self.client.get(f"/static/{path}")
            self.assertEqual(answer["Content-Type"], "text/css", path)
            self.assertIn(b"{", answer.getvalue())
        self.assertEqual(self.client.get("/static/%2e%2e/settings.py").status_code, 400)


class CommentTest(TestCase):
    """The comment form."""

    @classmethod
    def setUpTestData(cls) -> None:
        topics.load(SOURCES)

    def test_a_comment_is_stored_and_shown_with_a_message(self) -> None:
        answer = self.client.post(
            "/topics/calls/", {"name": "Ada", "text": "I <b>see</b>."}, follow=True
        )
        comment = Comment.objects.get()
        self.assertEqual(answer.redirect_chain, [(f"/topics/calls/#comment-{comment.pk}", 302)])
        self.assertContains(answer, "Thank you")
        self.assertContains(answer, "I &lt;b&gt;see&lt;/b&gt;.")

    def test_bad_comments_come_back_with_what_is_wrong(self) -> None:
        rows = [
            ({"name": "", "text": "fine"}, "This field is required."),
            ({"name": "Ada", "text": "x"}, "at least 3 characters"),
            ({"name": "Ada", "text": "x" * 2001}, "at most 2000 characters"),
            ({"name": "Ada", "text": "http://a http://b http://c"}, "At most two links"),
        ]
        for data, words in rows:
            with self.subTest(words):
                answer = self.client.post("/topics/calls/", data)
                self.assertContains(answer, words, status_code=422)
        self.assertFalse(Comment.objects.exists())

    def test_a_comment_without_csrf_token_is_refused(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        data = {"name": "Ada", "text": "fine"}
        self.assertEqual(strict.post("/topics/calls/", data).status_code, 403)
        strict.get("/topics/calls/")
        data["csrfmiddlewaretoken"] = strict.cookies["csrftoken"].value
        self.assertEqual(strict.post("/topics/calls/", data).status_code, 302)


class SearchTest(TestCase):
    """Search, on whichever engine the tests run."""

    @classmethod
    def setUpTestData(cls) -> None:
        topics.load(SOURCES)

    def found(self, query: str) -> list[str]:
        return [topic.slug for topic in search.find(query)]

    def test_every_word_must_occur(self) -> None:
        self.assertEqual(self.found("function"), ["calls"])
        self.assertEqual(self.found("exception function"), [])
        self.assertEqual(self.found(""), [])

    def test_a_word_in_the_title_ranks_first(self) -> None:
        self.assertEqual(self.found("calls"), ["calls", "try"])

    def test_matches_are_marked_and_everything_else_is_escaped(self) -> None:
        topics.load({"x": "X\n***\n\nWrite <b> & more before the gadget."})
        answer = self.client.get("/search/", {"q": "Gadget"})
        self.assertContains(answer, "<mark>gadget</mark>")
        # PostgreSQL leaves out what looks like a tag, the others show it.
        self.assertContains(answer, "&amp; more")
        self.assertNotContains(answer, "<b>")

    def test_odd_queries_find_nothing_and_break_nothing(self) -> None:
        for query in ["'", '"', "%", "\\", "a\x00b", "(", "<script>", "q" * 5000, "&|!:*", "-"]:
            with self.subTest(query[:10]):
                answer = self.client.get("/search/", {"q": query})
                self.assertEqual(answer.status_code, 200)
                self.assertNotContains(answer, "<script>")

    def test_a_page_number_out_of_range_shows_the_last_page(self) -> None:
        self.assertContains(self.client.get("/search/?q=calls&page=99"), "2 topics")


class OrdersApiTest(TestCase):
    """The 1+N endpoint and its cure."""

    @classmethod
    def setUpTestData(cls) -> None:
        samples.add_orders(timezone.now(), orders=30)

    def test_the_plain_list_costs_a_query_for_each_nested_object(self) -> None:
        page = list(Order.objects.all()[:20])
        lines = sum(order.lines.count() for order in page)
        # The count, the orders, a customer and the lines of each, the product of each line.
        with self.assertNumQueries(2 + 20 + 20 + lines):
            self.assertEqual(len(self.client.get("/api/orders/").json()["results"]), 20)

    def test_the_fixed_list_costs_four_queries_and_says_the_same(self) -> None:
        with self.assertNumQueries(4):
            fixed = self.client.get("/api/orders/?fixed=1").json()
        self.assertEqual(fixed["results"], self.client.get("/api/orders/").json()["results"])

    def test_the_fixed_list_stays_fixed_on_its_next_page(self) -> None:
        self.assertIn("fixed=1", self.client.get("/api/orders/?fixed=1").json()["next"])

    def test_the_api_only_reads(self) -> None:
        self.assertEqual(self.client.post("/api/orders/", {}).status_code, 405)


class CustomersTest(TestCase):
    """The page whose template asks."""

    @classmethod
    def setUpTestData(cls) -> None:
        samples.add_orders(timezone.now(), orders=30)

    def test_the_plain_page_costs_a_query_for_each_row_and_the_fixed_one_four(self) -> None:
        customers = list(Customer.objects.all()[:50])
        orders = [order for customer in customers for order in customer.orders.all()]
        lines = sum(order.lines.count() for order in orders)
        with self.assertNumQueries(1 + len(customers) + len(orders) + lines):
            plain = self.client.get("/customers/").content
        with self.assertNumQueries(4):
            fixed = self.client.get("/customers/?fixed=1").content
        self.assertEqual(plain, fixed)


class SetupDemoTest(TestCase):
    """The command behind the demo."""

    def test_it_refuses_without_debug(self) -> None:
        with self.assertRaisesMessage(CommandError, "only runs with DEBUG on"):
            call_command("setup_demo")

    @override_settings(DEBUG=True)
    def test_a_second_run_adds_nothing(self) -> None:
        call_command("setup_demo", stdout=StringIO())
        before = self.counts()
        call_command("setup_demo", stdout=StringIO())
        self.assertEqual(self.counts(), before)
        self.assertTrue(self.client.login(username="admin", password="admin"))  # noqa: S106

    def test_the_sample_orders_show_the_1_plus_n_as_the_home_page_says(self) -> None:
        samples.add_orders(timezone.now())
        with CaptureQueriesContext(connection) as queries:
            self.client.get("/api/orders/")
        self.assertTrue(90 <= len(queries) <= 110, len(queries))

    def counts(self) -> list[int]:
        users = get_user_model()
        return [model.objects.count() for model in (users, Topic, Comment, Order)]
