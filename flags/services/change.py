"""
The single writer of flags, segments, rollout plans and experiments.

Every entry point (admin, REST, commands, import, rollout plans, bandit, erasure) changes these rows through
`apply_change`, except a kill (`flags.services.kill`). In one transaction it

1. waits for other changes, loads the current document, and compares the version that the caller read;
2. merges the patch, and validates the result as a whole document;
3. checks whether the action is allowed and whether a second person must approve;
4. writes the row with its child rows, and a `FlagChange` with who, why, before and after;
5. writes a new payload token, which makes every process reload the flags.

A change that needs approval is saved as a `PendingChange` instead. Other code cannot write these rows, because the
models are guarded (`flags.models.guarded`). A second writer would leave gaps in the change history, skip approval, and
leave other processes on the old flags.

Version conflicts. Each write of a flag increments `Flag.version`. A caller that passes the version it read gets a
`VersionConflictError` (412) if the flag changed since, instead of overwriting a concurrent change. A patch without a
version is merged into the row as locked, so two patches of different fields do not overwrite each other. A pending
change keeps the flag's version in `flag_version` and is refused at approval if the flag changed meanwhile: the approver
saw a different flag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext

from access.typed_fields import StrictSerializer
from flags import documents, serializers
from flags.documents import Document
from flags.experiments import documents as experiment_documents
from flags.models import (
    ChangeSubject,
    Condition,
    Experiment,
    ExperimentPhase,
    ExperimentVariant,
    Flag,
    FlagChange,
    FlagVariant,
    Guardrail,
    Metric,
    PendingChange,
    Prerequisite,
    RolloutPhase,
    RolloutPlan,
    Rule,
    Segment,
)
from flags.models.guarded import allow_guarded_writes
from flags.services.errors import (
    AlreadyExistsError,
    ChangedMeanwhileError,
    InvalidChangeError,
    UnknownKeyError,
    VersionConflictError,
)
from flags.services.record import (
    Actor,
    check_key,
    check_reason,
    flag_transaction,
    record_change,
    save_row,
    to_json,
    to_plain_json,
)

SubjectRow = Flag | Segment | RolloutPlan | Experiment
IMMEDIATE_ACTIONS = frozenset({"killed"})
"""Actions that need no approval."""
PREAPPROVED_SYSTEM_ACTORS = ("rollout", "erasure", "bandit")
"""
Prefixes of system actors whose changes need no approval: the start of a rollout or bandit was approved, and an erasure
must not wait.
"""


@dataclass(frozen=True, slots=True)
class SubjectHandler:
    """How one kind of subject is loaded, validated and written."""

    model: type[Flag] | type[Segment] | type[RolloutPlan] | type[Experiment]
    serializer: type[StrictSerializer]
    to_document: Callable[[Any], Document]
    save_document: Callable[[Any, Document], None]
    check_action: Callable[[Document | None, Document, str], None] = lambda _before, _after, _action: None
    """Raises an error if the action may not change the first document (None: new) into the second."""


@flag_transaction
def apply_change(
    *,
    subject: str = ChangeSubject.FLAG,
    key: str,
    patch: Mapping[str, Any],
    actor: Actor,
    why: str,
    now: datetime,
    action: str = "changed",
    evidence: Sequence[Mapping[str, Any]] = (),
    version: int | None = None,
    state: str | None = None,
    create: bool = False,
    approved_by: User | None = None,
) -> FlagChange | PendingChange | None:
    """
    Change the fields in *patch* and return the `FlagChange`, or None if the patch changes nothing.

    A change that needs approval is saved and returned as a `PendingChange`, unless *approved_by* is the second person.
    *version* is the version of the flag that the caller read, and *state* the digest of the row that the caller read
    (`row_state`); None skips the check. Raises `InvalidChangeError` by field, or another error of
    `flags.services.errors`.
    """
    check_reason(why)
    handler = SUBJECT_HANDLERS[ChangeSubject(subject)]
    check_key(key)
    row = handler.model.objects.filter(key=key).first()
    before = load_current_document(subject, key, row, create=create, version=version)
    if state is not None and row is not None and state != row_state(row):
        raise ChangedMeanwhileError(key)
    after = validate_document(handler, (before or {"key": key}) | dict(patch))
    if key != after.document["key"]:
        raise InvalidChangeError({"key": [gettext("A key cannot change: code refers to the flag by it.")]})
    if before is not None and to_json(before) == to_json(after.document):
        return None
    handler.check_action(before, after.document, action)
    is_immediate = approved_by or action in IMMEDIATE_ACTIONS or actor.system.startswith(PREAPPROVED_SYSTEM_ACTORS)
    if not is_immediate and (flag := find_flag_requiring_approval(subject, row, after.document)):
        return save_pending_change(subject, key, flag, patch, actor, why, now, action)
    with allow_guarded_writes():
        handler.save_document(row or handler.model(key=key), after.values | {"changed_at": now})
    return record_change(
        subject=subject,
        key=key,
        before=before,
        after=after.document,
        actor=actor,
        action="created" if before is None else action,
        why=why,
        now=now,
        approved_by=approved_by,
        evidence=evidence,
    )


def row_state(row: SubjectRow) -> str:
    """Return a digest of the row's document, to find out whether it has changed since it was read."""
    handler = next(handler for handler in SUBJECT_HANDLERS.values() if isinstance(row, handler.model))
    return hashlib.sha256(to_json(handler.to_document(row)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ValidatedDocument:
    """A valid document: as Python values, and as plain JSON for the change history."""

    values: Document
    document: Document


def load_current_document(
    subject: str, key: str, row: SubjectRow | None, *, create: bool, version: int | None
) -> Document | None:
    """
    Return the current document, or None for a new one.

    Raises `UnknownKeyError`, `AlreadyExistsError` or `VersionConflictError`.
    """
    if row is None:
        if create:
            return None
        raise UnknownKeyError(ChangeSubject(subject).label, key)
    if create:
        raise AlreadyExistsError(ChangeSubject(subject).label, key)
    if isinstance(row, Flag) and version is not None and row.version != version:
        raise VersionConflictError(key, row.version)
    return to_plain_json(SUBJECT_HANDLERS[ChangeSubject(subject)].to_document(row))


def validate_document(handler: SubjectHandler, document: Document) -> ValidatedDocument:
    """Return the document with its defaults filled in. Raises `InvalidChangeError` by field."""
    form = handler.serializer(data=document)
    if not form.is_valid():
        raise InvalidChangeError(form.errors)
    return ValidatedDocument(dict(form.validated_data), to_plain_json(form.data))


def find_flag_requiring_approval(subject: str, row: SubjectRow | None, after: Document) -> Flag | None:
    """Return the flag because of which the change needs approval, or None."""
    if isinstance(row, Flag):
        return row if row.needs_approval else None
    if isinstance(row, Segment):
        return Flag.objects.filter(rules__segment=row, needs_approval=True, is_archived=False).first()
    if subject == ChangeSubject.PLAN and after["flag"] and after["state"] != RolloutPlan.State.DRAFT:
        return Flag.objects.filter(key=after["flag"], needs_approval=True).first()
    if isinstance(row, Experiment) and after["state"] != Experiment.State.DRAFT:
        return row.flag if row.flag.needs_approval else None
    return None


def save_pending_change(
    subject: str,
    key: str,
    flag: Flag,
    patch: Mapping[str, Any],
    actor: Actor,
    why: str,
    now: datetime,
    action: str,
) -> PendingChange:
    """Save a change for a second person to decide on."""
    with allow_guarded_writes():
        return PendingChange.objects.create(
            subject=subject,
            key=key,
            flag=flag,
            patch=to_plain_json(patch),
            action=action,
            why=why.strip(),
            requested_at=now,
            requested_by=actor.user,
            requested_by_system=actor.system,
            flag_version=flag.version,
        )


def write_flag(flag: Flag, document: Document) -> None:
    """Write the flag and replace its variants, rules and prerequisites."""
    child_fields = {"variants", "rules", "prerequisites"}
    for name in document.keys() - child_fields:
        setattr(flag, name, document[name])
    flag.version += 1
    save_row(flag)
    for rows in (flag.variants, flag.rules, flag.prerequisites):
        rows.all().delete()
    FlagVariant.objects.bulk_create(
        FlagVariant(flag=flag, position=position, **row) for position, row in enumerate(document["variants"])
    )
    segments = {row.key: row for row in Segment.objects.filter(key__in=[r["segment"] for r in document["rules"]])}
    Rule.objects.bulk_create(
        Rule(flag=flag, position=position, **row | {"segment": segments.get(row["segment"])})
        for position, row in enumerate(document["rules"])
    )
    required = {row.key: row for row in Flag.objects.filter(key__in=[r["flag"] for r in document["prerequisites"]])}
    Prerequisite.objects.bulk_create(
        Prerequisite(flag=flag, required_flag=required[row["flag"]], value=row["value"])
        for row in document["prerequisites"]
    )


def write_segment(segment: Segment, document: Document) -> None:
    """Write the segment and replace its conditions."""
    for name in document.keys() - {"conditions"}:
        setattr(segment, name, document[name])
    save_row(segment)
    segment.conditions.all().delete()
    Condition.objects.bulk_create(
        Condition(segment=segment, position=position, **row) for position, row in enumerate(document["conditions"])
    )


def write_plan(plan: RolloutPlan, document: Document) -> None:
    """Write the plan and replace its phases and guardrails."""
    for name in document.keys() - {"flag", "phases", "guardrails"}:
        setattr(plan, name, document[name])
    plan.flag = Flag.objects.get(key=document["flag"]) if document["flag"] else None
    save_row(plan)
    for rows in (plan.phases, plan.guardrails):
        rows.all().delete()
    RolloutPhase.objects.bulk_create(
        RolloutPhase(plan=plan, position=position, **row) for position, row in enumerate(document["phases"])
    )
    Guardrail.objects.bulk_create(
        Guardrail(plan=plan, position=position, **row) for position, row in enumerate(document["guardrails"])
    )


def write_experiment(experiment: Experiment, document: Document) -> None:
    """Write the experiment, its variants and its current phase."""
    references = experiment_documents.REFERENCES
    for name in document.keys() - {"metrics", "variants", "phase", *references}:
        setattr(experiment, name, document[name])
    for name, rows in references.items():
        setattr(experiment, name, rows.get(key=document[name]) if document[name] else None)
    is_active = document["state"] in (Experiment.State.RUNNING, Experiment.State.PAUSED)
    if is_active and experiment.started_at is None:
        experiment.started_at = document["changed_at"]
    if document["state"] == Experiment.State.FINISHED:
        experiment.finished_at = document["changed_at"]
    save_row(experiment)
    experiment.metrics.set(Metric.objects.filter(key__in=document["metrics"]))
    experiment.variants.exclude(key__in=[row["key"] for row in document["variants"]]).delete()
    experiment.variants.update(is_control=False)  # the constraint allows one control at any moment of the writes below
    for row in document["variants"]:
        if not experiment.variants.filter(key=row["key"]).update(**row):
            ExperimentVariant.objects.create(experiment=experiment, **row)
    write_phase(experiment, document)


def write_phase(experiment: Experiment, document: Document) -> None:
    """End the current phase if it is over, and begin the phase in the document. Traffic may grow within a phase."""
    running = experiment.phases.filter(ended_at=None).first()
    is_over = document["state"] == Experiment.State.FINISHED or (running and running.number != document["phase"])
    traffic = document["traffic_percentage"] / 100
    if running and is_over:
        running.ended_at = document["changed_at"]
        running.save(update_fields=["ended_at"])
    elif running and running.traffic != traffic:
        running.traffic = traffic
        running.save(update_fields=["traffic"])
    if document["phase"] and not experiment.phases.filter(number=document["phase"]).exists():
        ExperimentPhase.objects.create(
            experiment=experiment,
            number=document["phase"],
            seed=f"{experiment.key}:{document['phase']}",
            traffic=traffic,
            variants=experiment_documents.phase_variants(document["variants"]),
            started_at=document["changed_at"],
        )


SUBJECT_HANDLERS = {
    ChangeSubject.FLAG: SubjectHandler(Flag, serializers.FlagDocument, documents.flag_document, write_flag),
    ChangeSubject.SEGMENT: SubjectHandler(
        Segment, serializers.SegmentDocument, documents.segment_document, write_segment
    ),
    ChangeSubject.PLAN: SubjectHandler(
        RolloutPlan, serializers.RolloutPlanDocument, documents.plan_document, write_plan
    ),
    ChangeSubject.EXPERIMENT: SubjectHandler(
        Experiment,
        experiment_documents.ExperimentDocument,
        experiment_documents.experiment_document,
        write_experiment,
        experiment_documents.refuse_frozen_changes,
    ),
}
