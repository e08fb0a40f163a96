"""What users were told, to be held against what a database holds in the end."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

from mcp_keys_server.core.api_key import prefix_of


@dataclass
class History:
    """What was acknowledged, and what may have been done all the same: of what nobody answered, either may be so."""

    created: set[str] = field(default_factory=set)
    """Key ids, as in all that is not said to be anything else."""
    handed_over: dict[str, str] = field(default_factory=dict)
    """The keys of plaintexts."""
    perhaps_revoked: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    perhaps_replaced: set[str] = field(default_factory=set)
    """Plaintexts in whose place a rotation puts others at once."""
    replaced: set[str] = field(default_factory=set)
    accepted_after_end: set[str] = field(default_factory=set)
    """Plaintexts that opened something after it was acknowledged that they open nothing any more."""
    refused_before_end: set[str] = field(default_factory=set)
    good_at_once: set[str] = field(default_factory=set)
    """Names of keys that have a secret as soon as they are made, whoever hears of it."""
    failures: set[str] = field(default_factory=set)
    """What was said of requests that nothing stood in the way of."""
    acknowledged: int = 0
    unknown: int = 0
    unanswered: set[str] = field(default_factory=set)
    """What came in the place of an answer, of those that are unknown."""

    def has_ended(self, plaintext: str) -> bool:
        return plaintext in self.replaced or self.handed_over[plaintext] in self.revoked

    def may_have_ended(self, plaintext: str) -> bool:
        return plaintext in self.perhaps_replaced or self.handed_over[plaintext] in self.perhaps_revoked

    def note_use(self, plaintext: str, *, accepted: bool) -> None:
        if accepted and self.has_ended(plaintext):
            self.accepted_after_end.add(plaintext)
        if not accepted and not self.may_have_ended(plaintext):
            self.refused_before_end.add(plaintext)

    def keep(self, path: Path) -> Path:
        """Write it to this file, with their prefixes in the place of plaintexts."""
        kept: dict[str, object] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value is self.handed_over:
                value = {prefix_of(plaintext): key_id for plaintext, key_id in value.items()}
            elif isinstance(value, set):
                value = sorted(prefix_of(one) if one in self.handed_over else one for one in value)
            kept[each.name] = value
        path.write_text(json.dumps(kept, indent=1))
        return path
