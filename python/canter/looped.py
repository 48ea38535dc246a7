"""Owns in what a line of the app's stands, by its source: whether a loop of the app's own comes by it, and whether each
turn of it is to stand or fall for itself.

Leaves reading Django's frames to ``canter.written``. What cannot be read is no loop.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import tokenize
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from canter.captured import MOST_FRAMES

COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
"""Names of the frames that some loops have for themselves."""

APART = ("With", "AsyncWith", "Try", "TryStar")
"""In a loop, each turn has its own of what these open, a savepoint or a lock, and its own faults."""

ENDS = (ast.Return, ast.Raise, ast.Break, ast.Yield, ast.YieldFrom, ast.Await)
"""What a turn does with which the rest may be left to nobody."""

BINDS = (ast.Match, ast.ExceptHandler, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
"""What sets names that are no ``ast.Name``."""

RESULTS = ("lastrowid", "rowcount", "fetchone", "fetchmany", "fetchall")
"""What a cursor tells of the statement that it ran last."""

ASKS = ("execute", "executemany", "callproc", "objects", "_default_manager", "_base_manager", "raw")
"""What another statement of a turn may ask the database by."""

Range = tuple[int, int, int, int]
"""First and last line, first and last column; columns are -1 where only the line is known."""


def is_plain(frame: FrameType | None, is_own: Callable[[str], bool], is_answer: bool) -> bool:
    """Whether a loop of the app's own runs the line at which ``frame`` is, and nothing stands between them that keeps
    its turns apart. With ``is_answer`` what the line's call returns is the answer to something, and must not be used.
    """
    for _ in range(MOST_FRAMES):
        if frame is None:
            return False
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        # Whoever calls views is no loop, and a function may be decorated with `transaction.atomic`.
        if module == "django.core.handlers.base" or (module, name) == ("contextlib", "inner"):
            return False
        if is_own(frame.f_code.co_filename):
            if name in COMPREHENSIONS:
                return not is_answer
            where = _range(frame)
            path = None if where is None else _path(frame, where)
            if where is None or path is None or (is_answer and _is_used(path)):
                return False
            is_answer = False
            for at in reversed(range(len(path))):
                if type(path[at]).__name__ in APART:
                    return False
                if _is_loop(path, at, where[2] >= 0):
                    return True
        frame = frame.f_back
    return False


def called_on(frame: FrameType, name: str, is_fit: Callable[[ast.Call, set[str]], bool]) -> str:
    """On what the method ``name`` is called at the line of ``frame``, as the source has it; empty but where a loop of the
    same function runs the line for things that are known before, nothing keeps its turns apart or ends it early, and the
    line alone, in each turn, has to do with what it is called on and with the database. ``is_fit`` is given the call, and
    the names that a turn sets.
    """
    where = _range(frame)
    path = None if where is None or frame.f_code.co_name in COMPREHENSIONS else _path(frame, where)
    if where is None or path is None:
        return ""
    statements = [one for one in path if isinstance(one, ast.Expr)]
    call = statements[0].value if len(statements) == 1 else None
    # The answer is not used; and a call among its words is another.
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.func.attr != name:
        return ""
    if where[2] >= 0 and path[-1] is not call:
        return ""
    for at in reversed(range(len(path))):
        loop = path[at]
        if type(loop).__name__ in APART:
            return ""
        if isinstance(loop, ast.While):
            # What it goes on for may follow from the call.
            return ""
        if isinstance(loop, ast.For) and _is_loop(path, at, where[2] >= 0):
            root = _root(call.func.value)
            inside = [node for one in loop.body for node in ast.walk(one)]
            is_alone = sum(isinstance(node, ast.Name) and node.id == root for node in inside) == 1
            is_whole = not any(isinstance(node, (*ENDS, *BINDS)) for node in inside)
            others = {node.attr for node in inside if isinstance(node, ast.Attribute) and node is not call.func}
            if not root or not is_alone or not is_whole or not others.isdisjoint(ASKS) or not is_fit(call, _set_in(loop)):
                return ""
            # One turn of a loop around this one may be all that there is of what it is called on.
            outermost = next(one for one in path if isinstance(one, (ast.For, ast.AsyncFor, ast.While)))
            if root in _set_in(outermost) or _reads_results(path[0], root):
                return ""
            return ast.unparse(call.func.value)
    return ""


def _set_in(loop: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(loop) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}


def _reads_results(node: ast.AST, root: str) -> bool:
    return any(isinstance(it, ast.Attribute) and it.attr in RESULTS and _root(it) == root for it in ast.walk(node))


def _root(node: ast.AST) -> str:
    """The name at which ``a.b.c`` begins; empty for what is more than that."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def is_constant(node: ast.AST, changed: set[str]) -> bool:
    """Whether an expression is the same in each turn of a loop, which sets the names ``changed``."""
    return isinstance(node, ast.Constant) or _root(node) not in {"", *changed}


def _path(frame: FrameType, where: Range) -> list[ast.AST] | None:
    """What the call that runs now stands in, from the function on."""
    first = frame.f_code.co_firstlineno
    try:
        with tokenize.open(frame.f_code.co_filename) as file:
            block = inspect.getblock(list(itertools.islice(file, first - 1, None)))
        # What is indented is in something; columns stay as they are.
        tree = ast.parse("if 1:\n" + "".join(block) if block[0][:1].isspace() else "\n" + "".join(block))
    except (OSError, SyntaxError, ValueError, IndexError, tokenize.TokenError):
        return None
    top, bottom, left, right = where
    return list(_around(tree, (top - first + 2, bottom - first + 2, left, right)))


def _range(frame: FrameType) -> Range | None:
    line: int | None = frame.f_lineno
    positions = getattr(frame.f_code, "co_positions", None)
    if positions is not None:
        found: Any = next(itertools.islice(positions(), frame.f_lasti // 2, None), (None,) * 4)
        # Python can be told to keep no columns.
        if None not in found:
            top, bottom, left, right = found
            return top, bottom, left, right
    return None if line is None else (line, line, -1, -1)


def _around(node: ast.AST, where: Range) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not hasattr(child, "lineno"):
            yield from _around(child, where)
        elif _holds(child, where):
            yield child
            yield from _around(child, where)


def _holds(node: ast.AST, where: Range) -> bool:
    # Every statement and expression has these.
    top, bottom = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    left, right = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0)
    if where[2] < 0:
        return bool(top <= where[0] and where[1] <= bottom)
    return (top, left) <= (where[0], where[2]) and (where[1], where[3]) <= (bottom, right)


def _is_loop(path: list[ast.AST], at: int, is_exact: bool) -> bool:
    node, inside = path[at], path[at + 1 :]
    if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
        # What it goes through is asked for once.
        return any(one in inside and (is_exact or one.lineno > node.lineno) for one in node.body)
    if isinstance(node, ast.DictComp):
        parts = [node.key, node.value]
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        parts = [node.elt]
    else:
        return False
    # By its line alone, the call may stand beside.
    return is_exact and any(one in inside for one in parts)


def _is_used(path: list[ast.AST]) -> bool:
    statement = next((one for one in reversed(path) if isinstance(one, ast.stmt)), None)
    return not isinstance(statement, ast.Expr) or not isinstance(path[-1], ast.Call) or statement.value is not path[-1]
