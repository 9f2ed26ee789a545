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

from recommendations.contracts import Subject
from recommendations.models import InterestProfile, LessOf, Member, Post, Relationship, Seen
from recommendations.services import invalidate, wiring
from recommendations.services.errors import InvalidRequest
from recommendations.services.learning.interact import blocked_pairs
from recommendations.services.members.preferences import member_of, read_preferences, set_preferences
from recommendations.services.members.profile_file import form

LOOKED_UP = 900
"""Ids a query: SQLite binds at most 999 values. Changes the speed."""
TIES = ("block", "mute", "follow")
"""Blocks first: a follow across one is none."""
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """An item that was left out; *pointer* is a JSON pointer into the file."""

    pointer: str
    code: str
    detail: str


@dataclass
class Report:
    """What became of a file's items."""

    applied: int = 0
    unchanged: int = 0
    refused: list[Refusal] = field(default_factory=list)

    def refuse(self, pointer: str, code: str, detail: str) -> None:
        """Note an item that is left out."""
        self.refused.append(Refusal(pointer, code, detail))

    def count(self, applied: int, of: int) -> None:
        """Note that *applied* of so many items changed something."""
        self.applied += applied
        self.unchanged += of - applied


def import_profile(*, member_id: str, content: object, now: datetime) -> Report:
    """Take *content* in as the profile of the member. Raises `UnknownMember`, and `InvalidRequest` for no profile."""
    file = parsed(content)
    report = Report()
    with transaction.atomic():
        member = Member.objects.select_for_update().get(pk=member_of(member_id).pk)
        take_preferences(member, file.preferences, report, now)
        take_ties(member, file.ties, report, now)
        posts = posts_named([*(w.post_id for w in file.less_of), *(s.post_id for s in file.seen)])
        take_wishes(member, file.less_of, posts, report, now)
        take_seen(member, file.seen, posts, report, now)
        if file.interests is not None:
            take_interests(member, file.interests, report, now)
        invalidate.members(member.pk)
    return report


def parsed(content: object) -> form.ProfileFile:
    """Return the file, or raise `InvalidRequest` that points at the first thing wrong with it."""
    try:
        return form.ProfileFile.model_validate(content)
    except ValidationError as error:
        first, count = error.errors()[0], error.error_count()
        pointer = "".join(f"/{escaped(part)}" for part in first["loc"])
        more = f" {count - 1} more of its values cannot be used." if count > 1 else ""
        raise InvalidRequest(f"This is no profile file: {first['msg']}.{more} Nothing was changed.", pointer) from None


def escaped(part: str | int) -> str:
    """Return a part of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def take_preferences(member: Member, wanted: form.Wanted, report: Report, now: datetime) -> None:
    """Set what the file says, and add its words to those that are muted."""
    there = asdict(read_preferences(member_id=member.external_id))
    said = wanted.model_dump(exclude={"muted_words", "muted_tags"}, exclude_none=True)
    changes = {name: value for name, value in said.items() if value != there[name]}
    report.count(len(changes), len(said))
    for name in ("muted_words", "muted_tags"):
        given: list[str] = getattr(wanted, name)
        new = [word for word in dict.fromkeys(given) if word not in set(there[name])]
        room = max(0, form.MOST_WORDS - len(there[name]))
        for word in new[room:]:
            detail = f"There is room for {form.MOST_WORDS} {name}, with those there are."
            report.refuse(f"/preferences/{name}/{given.index(word)}", "no-room", detail)
        report.count(len(new[:room]), len(given) - len(new[room:]))
        if new[:room]:
            changes[name] = [*there[name], *new[:room]]
    if changes:
        set_preferences(member_id=member.external_id, changes=changes, now=now)


def take_ties(member: Member, ties: form.Ties, report: Report, now: datetime) -> None:
    """Follow, block and mute whom the file names. Whom a block stands between is not followed, and nobody is told."""
    named = {id for kind in TIES for id in getattr(ties, kind)}
    known = pks(Member.objects.all(), named)
    for kind in TIES:
        targets: list[int] = []
        ids: Sequence[str] = getattr(ties, kind)
        for number, other in enumerate(ids):
            if other not in known:
                report.refuse(f"/ties/{kind}/{number}", "unknown-member", f"There is no member {other!r} here.")
            elif known[other] == member.pk:
                report.refuse(f"/ties/{kind}/{number}", "oneself", f"A member cannot {kind} themselves.")
            else:
                targets.append(known[other])
        own = Relationship.objects.filter(source=member, kind=kind)
        there = set(own.values_list("target", flat=True))
        new = [pk for pk in dict.fromkeys(targets) if pk not in there]
        report.count(len(new), len(targets))
        tie(member, kind, new, now)


def tie(member: Member, kind: str, targets: Sequence[int], now: datetime) -> None:
    """Make these ties, which are not there yet."""
    if kind == "follow":
        apart = blocked_pairs({member.pk})
        targets = [pk for pk in targets if (member.pk, pk) not in apart]
    Relationship.objects.bulk_create(
        [Relationship(source=member, target_id=pk, kind=kind, created_at=now) for pk in targets],
        ignore_conflicts=True,
        batch_size=BATCH,
    )
    if kind == "block":
        follows = Relationship.objects.filter(kind="follow")
        for some in chunks(targets):
            follows.filter(source=member, target__in=some).delete()
            follows.filter(source__in=some, target=member).delete()
        invalidate.members(*targets)


def take_wishes(
    member: Member, wishes: Sequence[form.Wish], posts: dict[str, Post], report: Report, now: datetime
) -> None:
    """Add what the member wants less of."""
    there = set(LessOf.objects.filter(member=member).values_list("subject", "key", "event_id"))
    rows: dict[tuple[str, str, str], LessOf] = {}
    usable = 0
    for number, wish in enumerate(wishes):
        post = posts.get(wish.post_id)
        key = key_of(wish.subject, post) if post else None
        if post is None:
            report.refuse(f"/less_of/{number}", "unknown-post", f"There is no post {wish.post_id!r} here.")
        elif key is None:
            report.refuse(f"/less_of/{number}", "no-topic", f"Post {wish.post_id!r} has no tag here.")
        else:
            usable += 1
            at = min(wish.created_at, now)
            rows[wish.subject, key, wish.event_id] = LessOf(
                member=member, subject=wish.subject, key=key, post=post, event_id=wish.event_id, created_at=at
            )
    new = [row for name, row in rows.items() if name not in there]
    LessOf.objects.bulk_create(new, ignore_conflicts=True, batch_size=BATCH)
    report.count(len(new), usable)


def key_of(subject: str, post: Post) -> str | None:
    """Return what of the post a wish is about, as `LessOf` keeps it."""
    keys = {Subject.POST: str(post.pk), Subject.AUTHOR: str(post.author_id), Subject.FORMAT: post.kind}
    if subject == Subject.TOPIC:
        return str(post.tags[0]) if post.tags else None
    return keys[Subject(subject)]


def take_seen(
    member: Member, seen: Sequence[form.SeenPost], posts: dict[str, Post], report: Report, now: datetime
) -> None:
    """Add what the member saw; of a post that was seen here, the time stays."""
    usable: dict[int, datetime] = {}
    count = 0
    for number, item in enumerate(seen):
        if item.post_id not in posts:
            report.refuse(f"/seen/{number}", "unknown-post", f"There is no post {item.post_id!r} here.")
            continue
        count += 1
        usable.setdefault(posts[item.post_id].pk, min(item.seen_at, now))
    there: set[int] = set()
    for some in chunks(list(usable)):
        there |= set(Seen.objects.filter(member=member, post__in=some).values_list("post", flat=True))
    new = [Seen(member=member, post_id=pk, seen_at=at) for pk, at in usable.items() if pk not in there]
    Seen.objects.bulk_create(new, ignore_conflicts=True, batch_size=BATCH)
    report.count(len(new), count)


def take_interests(member: Member, learned: form.Learned, report: Report, now: datetime) -> None:
    """Start from the file's interests, if nothing was learned here and they mean something here."""
    there = InterestProfile.objects.filter(member=member).first()
    if there is not None and bytes(there.positive) == form.floats(learned.positive).tobytes():
        report.count(0, 1)
    elif there is not None:
        detail = "Interests were learned here already, and stay. Reset them first to start from the file's."
        report.refuse("/interests", "already-known", detail)
    elif not read_preferences(member_id=member.external_id).is_personalised:
        report.refuse("/interests", "not-allowed", "The member does not allow to be learned from (is_personalised).")
    elif learned.model != wiring.embedder().name or learned.dimension != wiring.embedder().dimension:
        detail = f"The interests are of the model {learned.model!r}; here it is {wiring.embedder().name!r}."
        report.refuse("/interests/model", "other-model", detail)
    else:
        write_interests(member, learned, report, now)
        report.count(1, 1)


def write_interests(member: Member, learned: form.Learned, report: Report, now: datetime) -> None:
    """Keep the interests; an author who is not here is left out."""
    known = pks(Member.objects.all(), learned.affinities.author)
    for name in learned.affinities.author:
        if name not in known:
            where = f"/interests/affinities/author/{escaped(name)}"
            report.refuse(where, "unknown-member", f"There is no member {name!r} here.")
    authors = {str(known[name]): value for name, value in learned.affinities.author.items() if name in known}
    InterestProfile.objects.create(
        member=member,
        model=learned.model,
        dimension=learned.dimension,
        positive=form.floats(learned.positive).tobytes(),
        positive_mass=form.floats(learned.positive_mass).tobytes(),
        negative=form.floats(learned.negative).tobytes(),
        negative_mass=form.floats(learned.negative_mass).tobytes(),
        affinities={
            "author": authors,
            "topic": learned.affinities.topic,
            "format": learned.affinities.format,
        },
        reference_at=min(learned.reference_at, now),
        interactions=learned.interactions,
        changed_at=now,
    )


def posts_named(names: Iterable[str]) -> dict[str, Post]:
    """Return posts by the platform's ids, with what a wish needs of them."""
    found: dict[str, Post] = {}
    for some in chunks(sorted(set(names))):
        rows = Post.objects.filter(external_id__in=some).only("pk", "external_id", "author_id", "kind", "tags")
        found |= {post.external_id: post for post in rows}
    return found


def pks(rows: Any, names: Iterable[str]) -> dict[str, int]:
    """Return the numbers of these rows by the platform's ids."""
    found: dict[str, int] = {}
    for some in chunks(sorted(set(names))):
        found |= dict(rows.filter(external_id__in=some).values_list("external_id", "pk"))
    return found


def chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Yield *items* in parts that fit into a query."""
    return (items[start : start + LOOKED_UP] for start in range(0, len(items), LOOKED_UP))
