from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias, final

from canter.worker import Application, WorkerSettings

_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
)

@final
class Write:
    def __call__(self, data: bytes, /) -> None: ...

@final
class StartResponse:
    def __call__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: _ExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]: ...
    def early_hints(self, headers: list[tuple[str, str]], /) -> None: ...

def strip(sql: str, vendor: str, /) -> tuple[int, int, str]: ...
def serve(
    application: Application, settings: WorkerSettings, fds: tuple[int, int, int, int], /
) -> int: ...
