"""What a key looks like, how one is minted, and how a string that never was one is told at a glance."""

import base64
import hmac
import re
import secrets
from hashlib import blake2b
from typing import NoReturn

from mcp_keys_server.core.checksum_secrets import ChecksumSecrets, id_of
from mcp_keys_server.core.errors import InvalidApiKeyError, InvalidFieldError, Refusal

PREFIX_LENGTH = 8
RANDOM_BYTES = 32
CHECKSUM_BYTES = 6
CHECKSUM_LENGTH = 8

_TAG = re.compile(r"[a-z][a-z0-9]{0,14}_")
# At most 67 characters, within the 72 bytes that bcrypt reads. Of fixed widths and never split at "_", which half of
# all random parts hold.
_SHAPE = re.compile(r"(?P<tag>[a-z][a-z0-9]{0,14}_)[A-Za-z0-9_-]{43}[A-Za-z0-9_-]{8}")
# What the two systems made whose keys are imported; shorter than any key of ours, so nothing is both.
_IMPORTED_SHAPE = re.compile(r"(?P<tag>mhu_|fm_)[A-Za-z0-9_-]{43}")
# What may be a key that stands in a text, which may be JSON, where the letters of an escaped character come before it.
# Words that are longer are none, so nobody has to try one at each of its letters.
_LONG_WORD = re.compile(r"(?P<escape>\\u[0-9a-f]{4}|\\[bfnrt])?(?P<word>[A-Za-z0-9_-]{46,})")
# Wider than the shapes, so that a key with a few characters too many or too few is covered as well.
_LIKE_A_KEY = re.compile(r"([a-z][a-z0-9]{0,14}_[A-Za-z0-9_-]{8})[A-Za-z0-9_-]{24,}")
_LIKE_A_KEY_HASH = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{8,}|sha256:[0-9a-f]{8,}")


def prefix_of(plaintext: str) -> str:
    """The public prefix of a well-formed key, whatever its tag: no tag has a second underscore."""
    start = plaintext.index("_") + 1
    return plaintext[start : start + PREFIX_LENGTH]


class ApiKey:
    """A well-formed key. Printing it shows the prefix; only ``reveal()`` gives it away.

    It was ``made_with`` the checksum secret that has this id. One that is ``imported`` looks as if it was made by a
    system whose keys were imported here. It has no checksum, so anybody may have made it up.
    """

    # Not a dataclass: those leak through ``asdict`` and ``pickle``.
    __slots__ = ("_plaintext", "imported", "made_with", "prefix", "tag")

    def __init__(self, plaintext: str, *, tag: str, made_with: bytes | None = None) -> None:
        self._plaintext = plaintext
        self.tag = tag
        self.made_with = made_with
        self.imported = made_with is None
        self.prefix = prefix_of(plaintext)

    def reveal(self) -> str:
        return self._plaintext

    def __repr__(self) -> str:
        return f"ApiKey({self.tag}{self.prefix}...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is never pickled or copied")


class KeyMint:
    """Makes keys, and recognises by their checksum those that it made.

    The checksum is a keyed BLAKE2b (RFC 7693 section 2.9) of 48 bits under a checksum secret of the database over all
    that stands before it; an HMAC would take three times as long, and a forgery is to cost nothing. It proves nothing
    about access: whoever learns the secret can make this server look a forgery up, and no more. Keys with an earlier
    tag stay good, because the tag is under the checksum like the rest.
    """

    def __init__(self, checksum_secrets: ChecksumSecrets, *, tag: str = "mhu_") -> None:
        self._secrets = checksum_secrets
        self._tag = parse_tag(tag)

    def mint(self) -> ApiKey:
        body, secret = self._tag + secrets.token_urlsafe(RANDOM_BYTES), self._secrets.making
        return ApiKey(body + checksum(body, secret), tag=self._tag, made_with=id_of(secret))

    async def learn_secrets(self) -> None:
        """
        Raises:
            StoreUnavailableError: Nobody can say at the moment which there are.
        """
        await self._secrets.look()

    async def recognise(self, presented: str) -> ApiKey:
        """Make a key of what was presented, without any input or output, unless this process has not heard for a while
        which secrets there are.

        Raises:
            InvalidApiKeyError: This server did not mint it, and it cannot have been imported.
            StoreUnavailableError: Nobody can say at the moment.
        """
        try:
            return self.parse(presented)
        except InvalidApiKeyError:
            if not (self._secrets.may_be_late and _SHAPE.fullmatch(presented)):
                raise
        await self._secrets.catch_up()
        return self.parse(presented)

    def parse(self, presented: str) -> ApiKey:
        """Make a key of what was presented, without any input or output.

        Raises:
            InvalidApiKeyError: This server did not mint it, and it cannot have been imported. The error holds nothing
                of it.
        """
        shape = _SHAPE.fullmatch(presented)  # of bounded widths, so of 10 MB it reads no more than of a key
        if shape is None:
            return _parse_imported(presented)
        body, found = presented[:-CHECKSUM_LENGTH], presented[-CHECKSUM_LENGTH:]
        for secret in self._secrets:
            if hmac.compare_digest(checksum(body, secret), found):
                return ApiKey(presented, tag=shape["tag"], made_with=id_of(secret))
        raise InvalidApiKeyError(Refusal.MALFORMED)

    def occurs_in(self, text: str) -> bool:
        """Whether a key that this server minted, or one of the shape of those that are imported, stands in the text."""
        return any(self._may_be_a_key(found["word"]) for found in _LONG_WORD.finditer(text))

    def _may_be_a_key(self, presented: str) -> bool:
        try:
            self.parse(presented)
        except InvalidApiKeyError:
            return False
        return True


def checksum(body: str, secret: bytes) -> str:
    """Of a key without it, under a checksum secret of up to 64 bytes."""
    digest = blake2b(body.encode("ascii"), key=secret, digest_size=CHECKSUM_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii")


def _parse_imported(presented: str) -> ApiKey:
    shape = _IMPORTED_SHAPE.fullmatch(presented)
    if shape is None:
        raise InvalidApiKeyError(Refusal.MALFORMED)
    return ApiKey(presented, tag=shape["tag"])


def parse_tag(text: str) -> str:
    """
    Raises:
        InvalidFieldError: No key can start with this.
    """
    if not _TAG.fullmatch(text):
        raise InvalidFieldError("key_tag", "1 to 15 lower-case letters or digits, a letter first, then '_'")
    return text


def contains_api_key(text: str) -> bool:
    """Whether a key seems to have been pasted into the text."""
    return _LIKE_A_KEY.search(text) is not None


def redact(text: str) -> str:
    """The text with all but the first characters of whatever looks like a key or a key hash taken out."""
    return _LIKE_A_KEY_HASH.sub("[redacted key hash]", _LIKE_A_KEY.sub(r"\1[redacted]", text))
