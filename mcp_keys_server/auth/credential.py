"""Finding the one credential in the headers of a request."""

from collections.abc import Iterable

CARRIERS = frozenset({b"authorization", b"x-api-key"})
"""The headers in which a key may come."""


class NoCredentialError(Exception):
    """No key was sent, or only one of a scheme that is not ours."""


class SeveralCredentialsError(Exception):
    """More than one was sent; choosing between them would be guessing whose request it is."""


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key that came as ``Authorization: Bearer KEY`` (RFC 6750 section 2.1) or as ``X-API-Key: KEY``.

    Names of ASGI headers are lower-case. Values are read as Latin-1, which cannot fail, and judged by the verifier.

    Raises:
        NoCredentialError: There is none. An empty header, as some clients on Windows send, counts as none.
        SeveralCredentialsError: There are two or more, in whatever headers and of whatever kind.
    """
    credentials = [(name, value) for name, value in headers if name in CARRIERS and value.strip()]
    if not credentials:
        raise NoCredentialError
    if len(credentials) > 1:
        raise SeveralCredentialsError
    name, value = credentials[0]
    if name == b"authorization":
        scheme, _, value = value.strip().partition(b" ")
        if scheme.lower() != b"bearer" or not value.strip():
            raise NoCredentialError
    return value.strip().decode("latin-1")
