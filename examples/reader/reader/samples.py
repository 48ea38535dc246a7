"""Made-up orders and a few comments, the same on every machine except for the dates."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal

from reader.models import Comment, Customer, Order, OrderLine, Product, Topic

ORDERS = 300
_FIRST = "Ada Alan Barbara Dennis Edsger Grace Guido Katherine Ken Margaret Radia Tim".split()
_LAST = "Archer Baker Carter Dyer Fisher Mason Potter Smith Tailor Weaver".split()
_THINGS = "Lamp Desk Chair Shelf Kettle Notebook Pencil Mug".split()
_STYLES = {"Plain": "12.50", "Oak": "48.00", "Blue": "19.90", "Folding": "27.25"}
_COMMENTS = (
    ("try", "Grace", "I did not know that a return in finally swallows the exception."),
    ("try", "Ken", "The example at the end of the finally section is worth running."),
    ("with", "Radia", "The translation into try and except made this click for me."),
    ("lambda", "Edsger", "Short and complete. More pages should be like this."),
    ("operator-summary", "Ada", "I have this table printed out beside my screen."),
    ("formatstrings", "Tim", "The grammar looks frightening; the examples below do not."),
    ("integers", "Katherine", "Underscores between the digits saved my eyes."),
    ("import", "Margaret", "What happens on a second import is explained well here."),
)


def add_comments() -> int:
    """Adds the comments, unless somebody has commented already; returns how many were added."""
    if Comment.objects.exists():
        return 0
    topics = Topic.objects.in_bulk({slug for slug, _, _ in _COMMENTS}, field_name="slug")
    comments = [
        Comment(topic=topics[slug], name=name, text=text)
        for slug, name, text in _COMMENTS
        if slug in topics
    ]
    return len(Comment.objects.bulk_create(comments))


def add_orders(newest: datetime, orders: int = ORDERS) -> int:
    """Adds customers, products and orders back from `newest`, unless there are orders already."""
    if Order.objects.exists():
        return 0
    dice = random.Random(1)
    customers = Customer.objects.bulk_create(
        Customer(name=f"{first} {last}", email=f"{first}.{last}@example.com".lower())
        for first in _FIRST
        for last in _LAST
    )
    products = Product.objects.bulk_create(
        Product(sku=f"{thing[:3]}-{style[:3]}".upper(), name=f"{style} {thing}", price=price)
        for thing in _THINGS
        for style, price in _STYLES.items()
    )
    made = Order.objects.bulk_create(
        Order(
            customer=dice.choice(customers),
            placed=newest - timedelta(minutes=37 * number),
            status=dice.choice(Order.Status.values),
        )
        for number in range(orders)
    )
    OrderLine.objects.bulk_create(
        OrderLine(
            order=order,
            product=product,
            quantity=dice.randint(1, 5),
            price=Decimal(product.price),
        )
        for order in made
        for product in dice.sample(products, dice.randint(1, 4))
    )
    return len(made)
