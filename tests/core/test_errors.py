import pytest

from mcp_keys_server import InvalidApiKeyError, Refusal


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
    assert str(InvalidApiKeyError(refusal)) == f"the API key is refused: {said}"
