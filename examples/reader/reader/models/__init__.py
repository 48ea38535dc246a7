"""What the site keeps: topics with their comments, uploads, and a small shop for the API."""

from reader.models.library import Comment, Topic, Upload
from reader.models.shop import Customer, Order, OrderLine, Product

__all__ = ["Comment", "Customer", "Order", "OrderLine", "Product", "Topic", "Upload"]
