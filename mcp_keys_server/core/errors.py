"""Everything that can go wrong, one class each. Each door translates them in one table; none quotes a secret."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why a key is not good now. Told to the operator's log; whoever presented it gets one answer for all."""

    MALFORMED = "malformed"
    UNMATCHED = "unmatched"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REPLACED = "replaced"
    DISABLED = "disabled"
    OWNER_DISABLED = "owner_disabled"


class McpKeysError(Exception):
    """Never raised itself: what all errors of this package are."""


_IN_WORDS = {
    Refusal.MALFORMED: "it is mistyped or cut off, or was never made here",
    Refusal.UNMATCHED: "it is nobody's",
    Refusal.REVOKED: "it was revoked",
    Refusal.EXPIRED: "it has expired",
    Refusal.REPLACED: "a newer one has taken its place",
    Refusal.DISABLED: "it is disabled",
    Refusal.OWNER_DISABLED: "its owner is disabled",
}


class InvalidApiKeyError(McpKeysError):
    """What was presented opens nothing at this moment."""

    def __init__(self, refusal: Refusal, *, key_id: str | None = None, user_id: str | None = None) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.key_id = key_id
        self.user_id = user_id

    def __str__(self) -> str:
        return f"the API key is refused: {_IN_WORDS[self.refusal]}"


class InvalidFieldError(McpKeysError):
    """A field breaks its rule. The message names both and never the value, which might be a pasted secret."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class NotPermittedError(McpKeysError):
    """A good key asked for more than it may. The message says which rule and what would be allowed."""


class TooManyKeysError(McpKeysError):
    """The user has as many keys as the operator allows."""

    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most} keys already, as many as one user may have; revoke one first")


class TooManyChangesError(McpKeysError):
    """So much was done to the keys of this user lately that they have to wait for more."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"too many changes were made to the keys of this user; try again in {seconds} seconds. A key can be "
            "revoked at any time"
        )
        self.seconds = seconds


class NotRotatableError(McpKeysError):
    """The key has no secret that a new one could replace, or two already. The message says which."""


class KeyNotFoundError(McpKeysError):
    """The caller has no key with that id; whether somebody else has one is not said."""

    def __init__(self) -> None:
        super().__init__("key_id: you have no key with this id")


class UserNotFoundError(McpKeysError):
    """No user has that id or e-mail."""

    def __init__(self) -> None:
        super().__init__("user: nobody has this user id or e-mail")


class UserExistsError(McpKeysError):
    """The user id, or the e-mail, is already somebody's."""

    def __init__(self) -> None:
        super().__init__("user: this user id or e-mail is already taken")


class KeyNoLongerGoodError(McpKeysError):
    """The key with which something was to be changed was revoked, expired or its owner disabled in the meantime."""

    def __init__(self) -> None:
        super().__init__("the key in use has just been revoked or has expired, so nothing was changed")


class ClaimNotOpenError(McpKeysError):
    """There is nothing to claim: the claim is spent or lapsed, or the key, its maker or its owner is no longer good."""

    def __init__(self) -> None:
        super().__init__(
            "key_id: this key cannot be claimed: it was claimed before, the time ran out, or it was revoked"
        )


class InvitationNotFoundError(McpKeysError):
    """No invitation has that code."""

    def __init__(self) -> None:
        super().__init__("this invitation is unknown: its link is mistyped or cut off, or a newer one replaced it")


class SessionEndedError(McpKeysError):
    """There is no such session, or not any more."""


class PrefixTakenError(McpKeysError):
    """A freshly minted prefix is in use already: mint again."""


class ChecksumSecretReplacedError(McpKeysError):
    """A fresh key has a checksum of a secret that has been replaced meanwhile: mint again."""


class AnotherSecretAnnouncedError(McpKeysError):
    """A checksum secret is not the one that is announced any more."""

    def __init__(self) -> None:
        super().__init__(
            "the checksum secret was not replaced by this one: another replacement was begun meanwhile, or a backup "
            "restored; see how the other one ends, or run it again"
        )


class TooManySecretsError(McpKeysError):
    """There are as many checksum secrets as may be."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"there are {most} checksum secrets already; rotate the keys that need the earlier ones, and run: "
            "mcp-keys-server database forget-checksum-secrets"
        )


class StoreUnavailableError(McpKeysError):
    """The store cannot answer at the moment: nobody is let in, and trying again is right. A change was not made, unless
    it is the answer to its commit that was lost, which nobody can tell.
    """


class TooBusyError(McpKeysError):
    """Too many keys wait for their first check: nobody is let in by it, and trying again is right."""

    def __init__(self) -> None:
        super().__init__("many keys are being checked for the first time; try again in a few seconds")


class UnusableDatabaseError(McpKeysError):
    """The database cannot be opened as it is; the message says why and what to do."""


class CopyNotFinishedError(McpKeysError):
    """A copy of a database cannot be used yet; the message says why and what to do."""


class NoDatabaseError(UnusableDatabaseError):
    """There is none yet, and it was not to be made."""


class UnusableSourceError(McpKeysError):
    """What keys are to be imported from cannot be read, or is something else; the message says which."""
