"""Fill the database and write down what each path must answer: `python -m dj.prepare FOLDER`.

The expected bodies come from Django's own test client, so no server has touched them.
"""

from __future__ import annotations

import datetime
import os
import sys
from decimal import Decimal
from pathlib import Path


def main(folder: Path) -> None:
    """Create the table if it is not there, 200 rows, and one file per path in `folder`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dj.settings")
    import django

    django.setup()
    from django.db import connection
    from django.test import Client

    from dj.models import Product

    if Product._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Product)
        first = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        Product.objects.bulk_create(
            Product(
                slug=f"product-{n}",
                name=f"Product <{n}>",
                price=Decimal(n * 7 % 100) + Decimal("0.99"),
                stock=n % 5,
                added=first + datetime.timedelta(days=n),
            )
            for n in range(1, 201)
        )
    client = Client(SERVER_NAME="127.0.0.1")
    for name in ("hello", "page", "db", "cpu", "api"):
        response = client.get(f"/{name}")
        assert response.status_code == 200, (name, response.status_code)
        (folder / name).write_bytes(response.content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
