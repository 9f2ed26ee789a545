"""
Takes a profile file in: all of it is checked before anything is written, and what cannot be used is said one by one.

Nothing is lost: what the member has here stays, and the file adds to it; a setting is the file's. Done twice, it is
done once. A file that is no profile is refused as a whole, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from pydantic import ValidationError

from recommendations.contracts import FeedbackTarget
from recommendations.models import InterestProfile, Member, NegativeFeedback, Post, Relationship, SeenPost
from recommendations.services import invalidate, wiring
from recommendations.services.errors import InvalidRequest
from recommendations.services.learning.interact import blocked_pairs
from recommendations.services.members.preferences import get_member, read_preferences, set_preferences
from recommendations.services.members.profile_file import schema

IDS_PER_QUERY = 900
"""Ids a query: SQLite binds at most 999 values. Changes the speed."""
RELATIONSHIP_ORDER = ("block", "mute", "follow")
"""Blocks first: a follow across one is none."""
BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item that was left out; *pointer* is a JSON pointer into the file."""

    pointer: str
    code: str
    detail: str


@dataclass
class ProfileImportReport:
    """What became of a file's items."""

    applied: int = 0
    unchanged: int = 0
    rejected: list[RejectedItem] = field(default_factory=list)

    def reject(self, pointer: str, code: str, detail: str) -> None:
        """Note an item that is left out."""
        self.rejected.append(RejectedItem(pointer, code, detail))

    def add_counts(self, applied: int, total: int) -> None:
        """Note that *applied* of so many items changed something."""
        self.applied += applied
        self.unchanged += total - applied


def import_profile(*, member_id: str, content: object, now: datetime) -> ProfileImportReport:
    """Take *content* in as the profile of the member. Raises `UnknownMember`, and `InvalidRequest` for no profile."""
    file = parse_profile(content)
    report = ProfileImportReport()
    with transaction.atomic():
        member = Member.objects.select_for_update().get(pk=get_member(member_id).pk)
        import_preferences(member, file.preferences, report, now)
        import_relationships(member, file.relationships, report, now)
        posts = posts_by_external_id([*(w.post_id for w in file.negative_feedback), *(s.post_id for s in file.seen)])
        import_negative_feedback(member, file.negative_feedback, posts, report, now)
        import_seen(member, file.seen, posts, report, now)
        if file.interests is not None:
            import_interests(member, file.interests, report, now)
        invalidate.invalidate_slates(member.pk)
    return report


def parse_profile(content: object) -> schema.ProfileFile:
    """Return the file, or raise `InvalidRequest` that points at the first thing wrong with it."""
    try:
        return schema.ProfileFile.model_validate(content)
    except ValidationError as error:
        first, count = error.errors()[0], error.error_count()
        pointer = "".join(f"/{escape_pointer(part)}" for part in first["loc"])
        more = f" {count - 1} more of its values cannot be used." if count > 1 else ""
        raise InvalidRequest(f"This is no profile file: {first['msg']}.{more} Nothing was changed.", pointer) from None


def escape_pointer(part: str | int) -> str:
    """Return a part of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def import_preferences(
    member: Member, preferences: schema.ProfilePreferences, report: ProfileImportReport, now: datetime
) -> None:
    """Set what the file says, and add its words to those that are muted."""
    there = asdict(read_preferences(member_id=member.external_id))
    said = preferences.model_dump(exclude={"muted_words", "muted_tags"}, exclude_none=True)
    changes = {name: value for name, value in said.items() if value != there[name]}
    report.add_counts(len(changes), len(said))
    for name in ("muted_words", "muted_tags"):
        given: list[str] = getattr(preferences, name)
        new = [word for word in dict.fromkeys(given) if word not in set(there[name])]
        room = max(0, schema.MAX_MUTED_WORDS - len(there[name]))
        for word in new[room:]:
            detail = f"There is room for {schema.MAX_MUTED_WORDS} {name}, with those there are."
            report.reject(f"/preferences/{name}/{given.index(word)}", "no-room", detail)
        report.add_counts(len(new[:room]), len(given) - len(new[room:]))
        if new[:room]:
            changes[name] = [*there[name], *new[:room]]
    if changes:
        set_preferences(member_id=member.external_id, changes=changes, now=now)


def import_relationships(
    member: Member, relationships: schema.ProfileRelationships, report: ProfileImportReport, now: datetime
) -> None:
    """Follow, block and mute whom the file names. Whom a block stands between is not followed, and nobody is told."""
    named = {id for kind in RELATIONSHIP_ORDER for id in getattr(relationships, kind)}
    known = pks_by_external_id(Member.objects.all(), named)
    for kind in RELATIONSHIP_ORDER:
        targets: list[int] = []
        ids: Sequence[str] = getattr(relationships, kind)
        for number, other in enumerate(ids):
            if other not in known:
                report.reject(f"/ties/{kind}/{number}", "unknown-member", f"There is no member {other!r} here.")
            elif known[other] == member.pk:
                report.reject(f"/ties/{kind}/{number}", "oneself", f"A member cannot {kind} themselves.")
            else:
                targets.append(known[other])
        own = Relationship.objects.filter(source=member, kind=kind)
        there = set(own.values_list("target", flat=True))
        new = [pk for pk in dict.fromkeys(targets) if pk not in there]
        report.add_counts(len(new), len(targets))
        create_relationships(member, kind, new, now)


def create_relationships(member: Member, kind: str, targets: Sequence[int], now: datetime) -> None:
    """Make these ties, which are not there yet."""
    if kind == "follow":
        apart = blocked_pairs({member.pk})
        targets = [pk for pk in targets if (member.pk, pk) not in apart]
    Relationship.objects.bulk_create(
        [Relationship(source=member, target_id=pk, kind=kind, created_at=now) for pk in targets],
        ignore_conflicts=True,
        batch_size=BATCH_ROWS,
    )
    if kind == "block":
        follows = Relationship.objects.filter(kind="follow")
        for some in query_chunks(targets):
            follows.filter(source=member, target__in=some).delete()
            follows.filter(source__in=some, target=member).delete()
        invalidate.invalidate_slates(*targets)


def import_negative_feedback(
    member: Member,
    feedback: Sequence[schema.ProfileFeedback],
    posts: dict[str, Post],
    report: ProfileImportReport,
    now: datetime,
) -> None:
    """Add what the member wants less of."""
    there = set(NegativeFeedback.objects.filter(member=member).values_list("target", "target_key", "event_id"))
    rows: dict[tuple[str, str, str], NegativeFeedback] = {}
    usable = 0
    for number, wish in enumerate(feedback):
        post = posts.get(wish.post_id)
        key = feedback_key(wish.target, post) if post else None
        if post is None:
            report.reject(f"/negative_feedback/{number}", "unknown-post", f"There is no post {wish.post_id!r} here.")
        elif key is None:
            report.reject(f"/negative_feedback/{number}", "no-topic", f"Post {wish.post_id!r} has no tag here.")
        else:
            usable += 1
            at = min(wish.created_at, now)
            rows[wish.target, key, wish.event_id] = NegativeFeedback(
                member=member, target=wish.target, target_key=key, post=post, event_id=wish.event_id, created_at=at
            )
    new = [row for name, row in rows.items() if name not in there]
    NegativeFeedback.objects.bulk_create(new, ignore_conflicts=True, batch_size=BATCH_ROWS)
    report.add_counts(len(new), usable)


def feedback_key(target: str, post: Post) -> str | None:
    """Return what of the post a wish is about, as `LessOf` keeps it."""
    keys = {
        FeedbackTarget.POST: str(post.pk),
        FeedbackTarget.AUTHOR: str(post.author_id),
        FeedbackTarget.KIND: post.kind,
    }
    if target == FeedbackTarget.TOPIC:
        return str(post.tags[0]) if post.tags else None
    return keys[FeedbackTarget(target)]


def import_seen(
    member: Member,
    seen: Sequence[schema.SeenPostItem],
    posts: dict[str, Post],
    report: ProfileImportReport,
    now: datetime,
) -> None:
    """Add what the member saw; of a post that was seen here, the time stays."""
    usable: dict[int, datetime] = {}
    count = 0
    for number, item in enumerate(seen):
        if item.post_id not in posts:
            report.reject(f"/seen/{number}", "unknown-post", f"There is no post {item.post_id!r} here.")
            continue
        count += 1
        usable.setdefault(posts[item.post_id].pk, min(item.seen_at, now))
    there: set[int] = set()
    for some in query_chunks(list(usable)):
        there |= set(SeenPost.objects.filter(member=member, post__in=some).values_list("post", flat=True))
    new = [SeenPost(member=member, post_id=pk, seen_at=at) for pk, at in usable.items() if pk not in there]
    SeenPost.objects.bulk_create(new, ignore_conflicts=True, batch_size=BATCH_ROWS)
    report.add_counts(len(new), count)


def import_interests(
    member: Member, interests: schema.LearnedInterests, report: ProfileImportReport, now: datetime
) -> None:
    """Start from the file's interests, if nothing was learned here and they mean something here."""
    there = InterestProfile.objects.filter(member=member).first()
    if there is not None and bytes(there.positive) == schema.decode_floats(interests.positive).tobytes():
        report.add_counts(0, 1)
    elif there is not None:
        detail = "Interests were learned here already, and stay. Reset them first to start from the file's."
        report.reject("/interests", "already-known", detail)
    elif not read_preferences(member_id=member.external_id).is_personalized:
        report.reject("/interests", "not-allowed", "The member does not allow to be learned from (is_personalized).")
    elif interests.embedding_model != wiring.embedder().name or interests.dimension != wiring.embedder().dimension:
        detail = f"The interests are of the model {interests.embedding_model!r}; here it is {wiring.embedder().name!r}."
        report.reject("/interests/model", "other-model", detail)
    else:
        create_interest_profile(member, interests, report, now)
        report.add_counts(1, 1)


def create_interest_profile(
    member: Member, interests: schema.LearnedInterests, report: ProfileImportReport, now: datetime
) -> None:
    """Keep the interests; an author who is not here is left out."""
    known = pks_by_external_id(Member.objects.all(), interests.affinities.author)
    for name in interests.affinities.author:
        if name not in known:
            where = f"/interests/affinities/author/{escape_pointer(name)}"
            report.reject(where, "unknown-member", f"There is no member {name!r} here.")
    authors = {str(known[name]): value for name, value in interests.affinities.author.items() if name in known}
    InterestProfile.objects.create(
        member=member,
        embedding_model=interests.embedding_model,
        dimension=interests.dimension,
        positive=schema.decode_floats(interests.positive).tobytes(),
        positive_mass=schema.decode_floats(interests.positive_mass).tobytes(),
        negative=schema.decode_floats(interests.negative).tobytes(),
        negative_mass=schema.decode_floats(interests.negative_mass).tobytes(),
        affinities={
            "author": authors,
            "topic": interests.affinities.topic,
            "kind": interests.affinities.kind,
        },
        reference_at=min(interests.reference_at, now),
        interaction_count=interests.interaction_count,
        changed_at=now,
    )


def posts_by_external_id(external_ids: Iterable[str]) -> dict[str, Post]:
    """Return posts by the platform's ids, with what a wish needs of them."""
    found: dict[str, Post] = {}
    for some in query_chunks(sorted(set(external_ids))):
        rows = Post.objects.filter(external_id__in=some).only("pk", "external_id", "author_id", "kind", "tags")
        found |= {post.external_id: post for post in rows}
    return found


def pks_by_external_id(rows: Any, external_ids: Iterable[str]) -> dict[str, int]:
    """Return the numbers of these rows by the platform's ids."""
    found: dict[str, int] = {}
    for some in query_chunks(sorted(set(external_ids))):
        found |= dict(rows.filter(external_id__in=some).values_list("external_id", "pk"))
    return found


def query_chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Yield *items* in parts that fit into a query."""
    return (items[start : start + IDS_PER_QUERY] for start in range(0, len(items), IDS_PER_QUERY))
