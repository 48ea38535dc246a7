"""How an order is written as JSON: with its customer, its lines and their products inside.

Nothing here says what to fetch, and that is the classic trap: each nested object costs a query of
its own unless the view has fetched it before. See `views`.
"""

from rest_framework import serializers

from reader.models import Customer, Order, OrderLine, Product


class CustomerSerializer(serializers.ModelSerializer):
    """Name and address."""

    class Meta:
        model = Customer
        fields = ["id", "name", "email"]


class ProductSerializer(serializers.ModelSerializer):
    """What a line needs to know of its product."""

    class Meta:
        model = Product
        fields = ["sku", "name"]


class OrderLineSerializer(serializers.ModelSerializer):
    """One line, with its product."""

    product = ProductSerializer()
    total = serializers.DecimalField(max_digits=10, decimal_places=2)

    class Meta:
        model = OrderLine
        fields = ["product", "quantity", "price", "total"]


class OrderSerializer(serializers.ModelSerializer):
    """An order with everything in it."""

    customer = CustomerSerializer()
    lines = OrderLineSerializer(many=True)

    class Meta:
        model = Order
        fields = ["id", "placed", "status", "customer", "lines"]
