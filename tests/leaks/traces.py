"""Tracing as an operator turns it on, with an exporter that writes all that it is told into a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace


class WritingSpan(trace.NonRecordingSpan):
    """A span of which every word is written down."""

    def __init__(self, path: str, name: str, attributes: object) -> None:
        super().__init__(trace.SpanContext(1, 1, is_remote=False, trace_flags=trace.TraceFlags(1)))
        self._path = path
        self._write("name", name, attributes)

    def _write(self, *said: object) -> None:
        with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123 - as the exporter of any library does
            file.write(f"{os.getpid()} {said!r}\n")

    def is_recording(self) -> bool:
        return True

    def set_attributes(self, attributes: Any) -> None:  # noqa: ANN401 - the library's
        self._write("attributes", attributes)

    def set_attribute(self, key: str, value: Any) -> None:  # noqa: ANN401
        self._write("attribute", key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:  # noqa: ANN401
        self._write("event", name, attributes, timestamp)

    def update_name(self, name: str) -> None:
        self._write("name", name)

    def set_status(self, status: Any, description: str | None = None) -> None:  # noqa: ANN401
        self._write("status", status, description)

    def record_exception(self, exception: BaseException, *more: Any, **others: Any) -> None:  # noqa: ANN401
        self._write("exception", exception, *more, others)


class WritingTracer(trace.Tracer):
    def __init__(self, path: str) -> None:
        self._path = path

    def start_span(self, name: str, *_: Any, **more: Any) -> trace.Span:  # noqa: ANN401
        return WritingSpan(self._path, name, more)

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # a context manager, and no decorator as well
        self,
        name: str,
        *_: Any,  # noqa: ANN401
        **more: Any,  # noqa: ANN401
    ) -> Iterator[trace.Span]:
        with trace.use_span(
            self.start_span(name, **more),
            record_exception=more.get("record_exception", True),
            set_status_on_exception=more.get("set_status_on_exception", True),
        ) as span:
            yield span


class WritingProvider(trace.TracerProvider):
    def __init__(self, path: str) -> None:
        self._path = path

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:  # noqa: ANN401
        return WritingTracer(self._path)
