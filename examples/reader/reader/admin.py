"""The admin: read topics, moderate comments, look after uploads and orders."""

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat, truncatechars

from reader.models import Comment, Customer, Order, OrderLine, Product, Topic, Upload

admin.site.site_header = "Reader administration"
admin.site.site_title = "Reader"


@admin.register(Topic)
class TopicAdmin(admin.ModelAdmin):
    """Topics come from `load_topics`; here they are looked at, not edited."""

    list_display = ["title", "slug", "words", "comment_count"]
    search_fields = ["title", "slug", "source"]
    fields = ["title", "slug", "words", "source"]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Topic]:
        return super().get_queryset(request).annotate(comment_total=Count("comments"))

    @admin.display(ordering="comment_total", description="comments")
    def comment_count(self, topic: Topic) -> int:
        return topic.comment_total

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin):
    """The moderation list."""

    list_display = ["short_text", "name", "topic", "created", "is_hidden"]
    list_filter = ["is_hidden", "created"]
    list_select_related = ["topic"]
    search_fields = ["text", "name", "topic__title"]
    autocomplete_fields = ["topic"]
    date_hierarchy = "created"
    actions = ["hide", "show"]

    @admin.display(description="comment")
    def short_text(self, comment: Comment) -> str:
        return truncatechars(comment.text, 60)

    @admin.action(description="Hide selected comments", permissions=["change"])
    def hide(self, request: HttpRequest, comments: QuerySet[Comment]) -> None:
        messages.success(request, f"{comments.update(is_hidden=True)} hidden.")

    @admin.action(description="Show selected comments", permissions=["change"])
    def show(self, request: HttpRequest, comments: QuerySet[Comment]) -> None:
        messages.success(request, f"{comments.update(is_hidden=False)} shown.")


@admin.register(Upload)
class UploadAdmin(admin.ModelAdmin):
    """Uploads are added on the site, where their name and size are taken down."""

    list_display = ["name", "readable_size", "owner", "created"]
    list_select_related = ["owner"]
    search_fields = ["name"]
    readonly_fields = ["name", "size", "owner", "created"]
    exclude = ["file"]

    @admin.display(ordering="size", description="size")
    def readable_size(self, upload: Upload) -> str:
        return filesizeformat(upload.size)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    """Customers, found by name or address."""

    list_display = ["name", "email"]
    search_fields = ["name", "email"]


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Products; prices can be changed in the list."""

    list_display = ["name", "sku", "price"]
    list_editable = ["price"]
    search_fields = ["name", "sku"]


class OrderLineInline(admin.TabularInline):
    """The lines of an order, edited with it."""

    model = OrderLine
    autocomplete_fields = ["product"]
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders, newest first."""

    list_display = ["__str__", "customer", "placed", "status"]
    list_filter = ["status", "placed"]
    list_select_related = ["customer"]
    search_fields = ["=id", "customer__name", "customer__email"]
    autocomplete_fields = ["customer"]
    date_hierarchy = "placed"
    inlines = [OrderLineInline]
