"""The orders endpoint, in two variants with the same answer.

`/api/orders/` is wrong on purpose: one query for the orders, then one for each customer, one for
the lines of each order and one for the product of each line. `/api/orders/?fixed=1` asks four.
"""

from django.db.models import QuerySet
from rest_framework.viewsets import ReadOnlyModelViewSet

from reader.api.serializers import OrderSerializer
from reader.models import Order


class OrderViewSet(ReadOnlyModelViewSet):
    """Orders, newest first, 20 a page. Add `?fixed=1` for the version without the 1+N queries."""

    serializer_class = OrderSerializer
    queryset = Order.objects.all()

    def get_queryset(self) -> QuerySet[Order]:
        orders = super().get_queryset()
        if self.request.query_params.get("fixed") == "1":
            return orders.select_related("customer").prefetch_related("lines__product")
        return orders
