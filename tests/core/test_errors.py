import pytest

from mcp_keys_server import InvalidApiKeyError, Refusal
from mcp_keys_server.core import errors


@pytest.mark.parametrize(
    ("refusal", "named", "said"),
    [
        (Refusal.MALFORMED, "malformed", "it is mistyped or cut off, or was never made here"),
        (Refusal.UNMATCHED, "unmatched", "it is nobody's"),
        (Refusal.REVOKED, "revoked", "it was revoked"),
        (Refusal.EXPIRED, "expired", "it has expired"),
        (Refusal.REPLACED, "replaced", "a newer one has taken its place"),
        (Refusal.DISABLED, "disabled", "it is disabled"),
        (Refusal.OWNER_DISABLED, "owner_disabled", "its owner is disabled"),
    ],
)
def test_why_a_key_is_refused_is_a_word_for_the_log_and_a_sentence_for_people(
    refusal: Refusal, named: str, said: str
) -> None:
    assert refusal == named
    error = InvalidApiKeyError(refusal)
    assert (str(error), error.args) == (f"the API key is refused: {said}", (refusal,))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.KeyNotFoundError(), "key_id: you have no key with this id"),
        (errors.UserNotFoundError(), "user: nobody has this user id or e-mail"),
        (errors.UserExistsError(), "user: this user id or e-mail is already taken"),
        (errors.KeyNoLongerGoodError(), "the key in use has just been revoked or has expired"),
        (errors.ClaimNotOpenError(), "key_id: this key cannot be claimed: "),
        (errors.InvitationNotFoundError(), "this invitation is unknown: its link is mistyped or cut off"),
        (errors.TooBusyError(), "many keys are being checked for the first time; try again"),
        (errors.TooManyKeysError(7), "there are 7 keys already"),
        (
            errors.TooManyChangesError(60),
            "too many changes were made to the keys of this user; try again in 60 seconds",
        ),
    ],
)
def test_an_error_that_is_told_to_people_says_what_it_is_about(error: errors.McpKeysError, said: str) -> None:
    assert str(error).startswith(said)
