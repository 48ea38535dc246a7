"""A site that is no Django: SQLAlchemy at the pool's address. Owns views for ``test_insight_database.py``;
leaves what is expected to it.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    """What the tables are made of."""


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship()


@functools.cache
def engine() -> Engine:
    """Of this worker: the address is known below ``canter serve`` alone."""
    url = make_url(os.environ["CANTER_DATABASE_URL"])
    return create_engine(url.set(drivername="postgresql+psycopg"))


def fill(session: Session) -> str:
    Base.metadata.create_all(engine())
    authors = [Author(id=number, name=f"hunter2-{number}") for number in range(6)]
    session.add_all([*authors, *(Book(id=author.id, author=author) for author in authors)])
    session.commit()
    return "filled"


def books(session: Session) -> str:
    """The author of each book, asked for one by one."""
    return ", ".join(book.author.name for book in session.scalars(select(Book)))


def hold(session: Session) -> str:
    """What asks somebody else in the middle of a transaction does so, too."""
    found = session.get(Author, 1)
    time.sleep(0.15)
    session.commit()
    return "held" if found else "not held"


ROUTES: dict[str, tuple[str, Any, Callable[[Session], str]]] = {
    "/fill": ("canter.route", "/fill", fill),
    "/books/7": ("canter.route", "/books/<shelf>", books),
    "/hold": ("canter.route", "/hold", hold),
    "/unknown": ("of its own", "/nothing", books),
    "/wrong": ("canter.route", 7, books),
}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    key, route, view = ROUTES[environ["PATH_INFO"]]
    environ[key] = route
    with Session(engine()) as session:
        text = view(session)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
