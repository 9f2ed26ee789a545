"""
Import a profile file. The whole file is validated before anything is written; each unusable item is reported.

Nothing of the member's is lost: the file adds to the existing data, and its settings replace the existing settings.
Importing a file twice has the same result as importing it once. An invalid file is rejected as a whole, and nothing
is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from monitoring.transactions import write_transaction
from recommendations.contracts import Sender
from recommendations.models import InterestProfile, Member, NegativeFeedback, Relationship, SeenPost, Undo
from recommendations.services import invalidate, wiring
from recommendations.services.errors import InvalidRequest
from recommendations.services.learning.store_interactions import feedback_key
from recommendations.services.learning.store_relationships import FOLLOW_KINDS, store_relationships
from recommendations.services.members.preferences import get_member, read_preferences, set_preferences
from recommendations.services.members.profile_file import schema
from recommendations.services.serving.visibility import find_visible_posts, members_visible_to
from recommendations.stores.bulk import Column
from recommendations.stores.relational_posts import PostFacts
from recommendations.stores.row_locks import lock_members
from values.types import MAX_PREFERENCES

IDS_PER_QUERY = 900
"""Maximum number of ids in a query: SQLite binds at most 999 values. Changes the speed."""
RELATIONSHIP_ORDER = ("block", "mute", "follow")
"""The order in which the file's items are reported."""
ADDED_LISTS = ("muted_words", "muted_tags", "interest_tags")
"""Preferences that an import adds to. It replaces the others."""
BATCH_ROWS = 1_000

Location = tuple[str | int, ...]
"""The names and positions that lead to a value of a file."""


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item that was not imported. *pointer* is a JSON pointer into the file."""

    pointer: str
    code: str
    detail: str


@dataclass
class ProfileImportReport:
    """The results of a file's items."""

    applied: int = 0
    unchanged: int = 0
    rejected: list[RejectedItem] = field(default_factory=list)

    def reject(self, pointer: str, code: str, detail: str) -> None:
        """Add a rejected item."""
        self.rejected.append(RejectedItem(pointer, code, detail))

    def add_counts(self, applied: int, total: int) -> None:
        """Count *applied* of *total* items as applied and the others as unchanged."""
        self.applied += applied
        self.unchanged += total - applied


def import_profile(*, member_id: str, content: object, now: datetime) -> ProfileImportReport:
    """
    Import *content*, a parsed JSON value, as the profile of the member. Return the results of its items.

    An invalid item of a list is rejected, and the others are imported.

    Raises `UnknownMember`, and `InvalidRequest` for an invalid file.
    """
    file, invalid = parse_profile(content)
    report = apply_profile(member_id, file, now)
    locations = list(invalid)
    of_file = [replace(item, pointer=locate_in_file(item.pointer, locations)) for item in report.rejected]
    of_values = [RejectedItem(to_pointer(location), "invalid-item", invalid[location]) for location in locations]
    report.rejected = of_values + of_file
    return report


@write_transaction
def apply_profile(member_id: str, file: schema.ProfileFile, now: datetime) -> ProfileImportReport:
    """Write what the valid *file* holds. Return the results of its items."""
    report = ProfileImportReport()
    # All at once, because members who import files that name each other would else wait for each other.
    lock_members(pks_by_external_id(Member.objects.all(), [member_id, *named_members(file.relationships)]).values())
    member = get_member(member_id)
    import_preferences(member, file.preferences, report, now)
    import_relationships(member, file.relationships, report, now)
    post_ids = [item.post_id for item in file.negative_feedback] + [item.post_id for item in file.seen]
    posts = {external_id: post for (_, external_id), post in find_visible_posts({member.pk: post_ids}, now).items()}
    import_negative_feedback(member, file.negative_feedback, posts, report, now)
    import_seen(member, file.seen, posts, report, now)
    if file.interests is not None:
        import_interests(member, file.interests, report, now)
    invalidate.invalidate_slates(member.pk)
    return report


def parse_profile(content: object) -> tuple[schema.ProfileFile, dict[Location, str]]:
    """
    Return the file without the invalid items of its lists, and the problems of those items by their locations.

    Raises `InvalidRequest` with a pointer to the first error that is not in an item.
    """
    try:
        return schema.ProfileFile.model_validate(content), {}
    except ValidationError as error:
        items: dict[Location, str] = {}
        for row in error.errors(include_url=False, include_input=False):
            length = next((n for n, part in enumerate(row["loc"], 1) if isinstance(part, int)), 0)
            items.setdefault(row["loc"][:length], row["msg"])
        if () in items:
            raise invalid_file_error(error) from None
    return schema.ProfileFile.model_validate(without_items(content, items)), items


def locate_in_file(pointer: str, removed: Sequence[Location]) -> str:
    """Return a pointer into a file without the *removed* items, in file order, as a pointer into the whole file."""
    for *parts, number in removed:
        prefix = to_pointer(parts) + "/"
        if not pointer.startswith(prefix):
            continue
        position, slash, rest = pointer.removeprefix(prefix).partition("/")
        if int(number) <= int(position):
            pointer = f"{prefix}{int(position) + 1}{slash}{rest}"
    return pointer


def without_items(value: Any, locations: Collection[Location], path: Location = ()) -> Any:
    """Return a JSON value without the items at these locations of its lists."""
    if isinstance(value, dict):
        return {name: without_items(item, locations, (*path, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [item for number, item in enumerate(value) if (*path, number) not in locations]
    return value


def invalid_file_error(error: ValidationError) -> InvalidRequest:
    """Return the error of a file, with a pointer to the first invalid value."""
    first, count = error.errors()[0], error.error_count()
    more = f" The file has {count - 1} more errors." if count > 1 else ""
    return InvalidRequest(
        f"The profile file is invalid: {first['msg']}.{more} Nothing was changed.", to_pointer(first["loc"])
    )


def to_pointer(location: Sequence[str | int]) -> str:
    """Return a JSON pointer (RFC 6901) to the value at *location*."""
    return "".join(f"/{escape_pointer(part)}" for part in location)


def escape_pointer(part: str | int) -> str:
    """Return *part* escaped for a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def import_preferences(
    member: Member, preferences: schema.ProfilePreferences, report: ProfileImportReport, now: datetime
) -> None:
    """Replace the settings that the file gives, and add the words and tags of its `ADDED_LISTS`."""
    existing = asdict(read_preferences(member_id=member.external_id))
    settings = preferences.model_dump(exclude=set(ADDED_LISTS), exclude_none=True)
    changes = {name: value for name, value in settings.items() if value != existing[name]}
    report.add_counts(len(changes), len(settings))
    for name in ADDED_LISTS:
        words: list[str] = getattr(preferences, name)
        new = [word for word in dict.fromkeys(words) if word not in set(existing[name])]
        capacity = max(0, MAX_PREFERENCES - len(existing[name]))
        for word in new[capacity:]:
            detail = f"A member can have at most {MAX_PREFERENCES} {name}, with the existing ones."
            report.reject(f"/preferences/{name}/{words.index(word)}", "limit-reached", detail)
        report.add_counts(len(new[:capacity]), len(words) - len(new[capacity:]))
        if new[:capacity]:
            changes[name] = [*existing[name], *new[:capacity]]
    if changes:
        set_preferences(member_id=member.external_id, changes=changes, now=now)


def named_members(relationships: schema.ProfileRelationships) -> set[str]:
    """Return the ids of the members whom the file names."""
    return {id for kind in RELATIONSHIP_ORDER for id in getattr(relationships, kind)}


def import_relationships(
    member: Member, relationships: schema.ProfileRelationships, report: ProfileImportReport, now: datetime
) -> None:
    """
    Create the file's follows, blocks and mutes. A follow across a block is neither created nor reported.

    The file is the member's word only: the follow of a private account is a request, whoever sends the file.
    """
    member_pks = pks_by_external_id(members_visible_to(member.pk), named_members(relationships))
    rows: list[tuple[int, str]] = []
    for kind in RELATIONSHIP_ORDER:
        targets: list[int] = []
        ids: Sequence[str] = getattr(relationships, kind)
        for number, target_id in enumerate(ids):
            pointer = f"/relationships/{kind}/{number}"
            if target_id not in member_pks:
                report.reject(pointer, "unknown-member", f"There is no member {target_id!r} here.")
            elif member_pks[target_id] == member.pk:
                report.reject(pointer, "self-relationship", f"A member cannot {kind} themselves.")
            else:
                targets.append(member_pks[target_id])
        existing_kinds = FOLLOW_KINDS if kind == Relationship.Kind.FOLLOW else (kind,)
        existing = set(
            Relationship.objects.filter(source=member, kind__in=existing_kinds).values_list("target", flat=True)
        )
        new = [pk for pk in dict.fromkeys(targets) if pk not in existing]
        report.add_counts(len(new), len(targets))
        rows += [(pk, kind) for pk in new]
    columns: dict[str, Column] = {
        "source_id": [member.pk] * len(rows),
        "target_id": [pk for pk, _ in rows],
        "kind": [kind for _, kind in rows],
        "created_at": [now] * len(rows),
    }
    store_relationships(columns, approves_follows=False)


def import_negative_feedback(
    member: Member,
    feedback: Sequence[schema.ProfileFeedback],
    posts: dict[str, PostFacts],
    report: ProfileImportReport,
    now: datetime,
) -> None:
    """Add the file's negative feedback, except what the member has undone here."""
    undone_event_ids: set[str] = set()
    for chunk in query_chunks([item.event_id for item in feedback]):
        undos = Undo.objects.filter(member=member, undoes_event_id__in=chunk)
        undone_event_ids.update(undos.values_list("undoes_event_id", flat=True))
    existing = set(NegativeFeedback.objects.filter(member=member).values_list("target", "target_key", "event_id"))
    rows: dict[tuple[str, str, str], NegativeFeedback] = {}
    usable_count = 0
    for number, item in enumerate(feedback):
        pointer = f"/negative_feedback/{number}"
        post = posts.get(item.post_id)
        key = feedback_key(item.target, post) if post else None
        if post is None:
            report.reject(pointer, "unknown-post", f"There is no post {item.post_id!r} here.")
        elif key is None:
            report.reject(pointer, "post-without-topic", f"Post {item.post_id!r} has no tag here.")
        else:
            usable_count += 1
            created_at = min(item.created_at, now)
            rows[item.target, key, item.event_id] = NegativeFeedback(
                member=member,
                target=item.target,
                target_key=key,
                post_id=post.id,
                event_id=item.event_id,
                sender=Sender.MEMBER.value,
                created_at=created_at,
            )
    new = [row for row_key, row in rows.items() if row_key not in existing and row.event_id not in undone_event_ids]
    NegativeFeedback.objects.bulk_create(new, ignore_conflicts=True, batch_size=BATCH_ROWS)
    report.add_counts(len(new), usable_count)


def import_seen(
    member: Member,
    seen: Sequence[schema.SeenPostItem],
    posts: dict[str, PostFacts],
    report: ProfileImportReport,
    now: datetime,
) -> None:
    """Add the file's seen posts. A post that was already seen here keeps its time."""
    seen_times: dict[int, datetime] = {}
    usable_count = 0
    for number, item in enumerate(seen):
        if item.post_id not in posts:
            report.reject(f"/seen/{number}", "unknown-post", f"There is no post {item.post_id!r} here.")
            continue
        usable_count += 1
        seen_times.setdefault(posts[item.post_id].id, min(item.seen_at, now))
    existing: set[int] = set()
    for chunk in query_chunks(list(seen_times)):
        existing |= set(SeenPost.objects.filter(member=member, post__in=chunk).values_list("post", flat=True))
    new = [
        SeenPost(member=member, post_id=pk, seen_at=seen_at) for pk, seen_at in seen_times.items() if pk not in existing
    ]
    SeenPost.objects.bulk_create(new, ignore_conflicts=True, batch_size=BATCH_ROWS)
    report.add_counts(len(new), usable_count)


def import_interests(
    member: Member, interests: schema.LearnedInterests, report: ProfileImportReport, now: datetime
) -> None:
    """Store the file's interests if none were learned here, the member consents and the embedding model is the same."""
    existing = InterestProfile.objects.filter(member=member).first()
    if existing is not None and bytes(existing.positive) == schema.decode_floats(interests.positive).tobytes():
        report.add_counts(0, 1)
    elif existing is not None:
        detail = "The member already has learned interests here. Reset them first to import the file's."
        report.reject("/interests", "interests-exist", detail)
    elif not read_preferences(member_id=member.external_id).is_personalized:
        report.reject("/interests", "not-personalized", "The member does not consent to learning (is_personalized).")
    elif interests.embedding_model != wiring.embedder().name or interests.dimension != wiring.embedder().dimension:
        detail = (
            f"The interests are of the embedding model {interests.embedding_model!r} with dimension "
            f"{interests.dimension}; this service uses {wiring.embedder().name!r} with {wiring.embedder().dimension}."
        )
        report.reject("/interests/embedding_model", "different-embedding-model", detail)
    else:
        create_interest_profile(member, interests, report, now)
        report.add_counts(1, 1)


def create_interest_profile(
    member: Member, interests: schema.LearnedInterests, report: ProfileImportReport, now: datetime
) -> None:
    """Create the profile from the file's interests, without the affinities to unknown authors."""
    author_pks = pks_by_external_id(members_visible_to(member.pk), interests.affinities.author)
    for author_id in interests.affinities.author:
        if author_id not in author_pks:
            pointer = f"/interests/affinities/author/{escape_pointer(author_id)}"
            report.reject(pointer, "unknown-member", f"There is no member {author_id!r} here.")
    author_sums = {
        str(author_pks[author_id]): value
        for author_id, value in interests.affinities.author.items()
        if author_id in author_pks
    }
    InterestProfile.objects.create(
        member=member,
        embedding_model=interests.embedding_model,
        dimension=interests.dimension,
        positive=schema.decode_floats(interests.positive).tobytes(),
        positive_mass=schema.decode_floats(interests.positive_mass).tobytes(),
        negative=schema.decode_floats(interests.negative).tobytes(),
        negative_mass=schema.decode_floats(interests.negative_mass).tobytes(),
        affinities={
            "author": author_sums,
            "topic": interests.affinities.topic,
            "kind": interests.affinities.kind,
        },
        reference_at=min(interests.reference_at, now),
        interaction_count=interests.interaction_count,
        changed_at=now,
    )


def pks_by_external_id(rows: Any, external_ids: Iterable[str]) -> dict[str, int]:
    """Return the primary keys of the rows by platform id."""
    pks: dict[str, int] = {}
    for chunk in query_chunks(sorted(set(external_ids))):
        pks |= dict(rows.filter(external_id__in=chunk).values_list("external_id", "pk"))
    return pks


def query_chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Yield *items* in chunks of at most `IDS_PER_QUERY`."""
    return (items[start : start + IDS_PER_QUERY] for start in range(0, len(items), IDS_PER_QUERY))
