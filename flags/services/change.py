"""
The only writer of flags, segments, rollout plans and experiments.

Each change is checked as a whole document, written with what hangs on it, recorded (who, why, before, after), and told
to every process by a new token, all in one transaction. What a second person must approve is kept until they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from rest_framework.exceptions import ValidationError

from flags import documents, hooks
from flags.documents import Document
from flags.experiments import documents as experiment_documents
from flags.models import (
    Condition,
    Experiment,
    Flag,
    FlagChange,
    FlagVariant,
    Guardrail,
    Metric,
    PayloadVersion,
    PendingChange,
    Phase,
    Prerequisite,
    RolloutPhase,
    RolloutPlan,
    Rule,
    Segment,
    Subject,
    Variant,
)
from flags.models.guarded import writing
from flags.services.errors import ChangedMeanwhileError, ExistsError, UnknownKeyError
from flags.snapshot import snapshot

Row = Flag | Segment | RolloutPlan | Experiment
AT_ONCE = frozenset({"killed"})
"""Actions that wait for nobody."""
RULES = ("rollout", "erasure", "bandit")
"""Rules of the system that need no approval: a rollout's or bandit's start had it, and an erasure must not wait."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something: a person, or a rule of the system by its name."""

    user: User | None = None
    system: str = ""

    def __post_init__(self) -> None:
        if (self.user is None) == (not self.system):
            raise ValueError("An actor is a person or a rule of the system.")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of thing is read, checked and written."""

    model: type[Flag] | type[Segment] | type[RolloutPlan] | type[Experiment]
    document: type[documents.Closed]
    read: Callable[[Any], Document]
    write: Callable[[Any, Document], None]
    refuse: Callable[[Document | None, Document, str], None] = lambda _before, _after, _action: None
    """Raises an error if this action may not make the one document of the other."""


def change(
    *,
    subject: str = Subject.FLAG,
    key: str,
    patch: Mapping[str, Any],
    actor: Actor,
    why: str,
    now: datetime,
    action: str = "changed",
    evidence: Sequence[Mapping[str, Any]] = (),
    version: int | None = None,
    create: bool = False,
    approved_by: User | None = None,
) -> FlagChange | PendingChange | None:
    """
    Change the fields that *patch* names and return the record; None if that changes nothing.

    A change that needs approval is kept as a `PendingChange`, which is returned instead, unless *approved_by* is the
    second person. *version* is the flag's that the change was made from, if the caller knows. Raises `ValidationError`
    by field, or an error of `flags.services.errors`.
    """
    if not why.strip():
        raise ValidationError({"why": ["Say why: it is kept with the change."]})
    kind = KINDS[Subject(subject)]
    with transaction.atomic():
        row = kind.model.objects.select_for_update().filter(key=key).first()
        before = checked_before(subject, key, row, create=create, version=version)
        after = checked(kind, (before or {"key": key}) | dict(patch))
        if key != after.plain["key"]:
            raise ValidationError({"key": ["A key cannot change: the code asks for it."]})
        if before == after.plain:
            return None
        kind.refuse(before, after.plain, action)
        at_once = approved_by or action in AT_ONCE or actor.system.startswith(RULES)
        if not at_once and (flag := awaiting(subject, row, after.plain)):
            return keep(subject, key, flag, patch, actor, why, now, action)
        with writing():
            kind.write(row or kind.model(key=key), after.valid | {"changed_at": now})
        record = FlagChange.objects.create(
            subject=subject,
            key=key,
            at=now,
            user=actor.user,
            system=actor.system,
            approved_by=approved_by,
            action="made" if before is None else action,
            why=why.strip(),
            before=documents.recorded(before) if before else None,
            after=documents.recorded(after.plain),
            evidence=list(evidence),
        )
        tell()
        if subject == Subject.FLAG and before and before["is_enabled"] and not after.plain["is_enabled"]:
            transaction.on_commit(lambda: hooks.turned_off(key))
    return record


def find_flag(key: str) -> Flag:
    """Return the flag, or raise `UnknownKeyError`."""
    flag = Flag.objects.filter(key=key).first()
    if flag is None:
        raise UnknownKeyError(Subject.FLAG.label, key)
    return flag


@dataclass(frozen=True, slots=True)
class Checked:
    """A document that is right, as values and as it is recorded."""

    valid: Document
    plain: Document


def checked_before(subject: str, key: str, row: Row | None, *, create: bool, version: int | None) -> Document | None:
    """Return what there is, or refuse: it is not there, it is there already, or it is another by now."""
    if row is None:
        if create:
            return None
        raise UnknownKeyError(Subject(subject).label, key)
    if create:
        raise ExistsError(Subject(subject).label, key)
    if isinstance(row, Flag) and version is not None and row.version != version:
        raise ChangedMeanwhileError(key, row.version)
    return plain(KINDS[Subject(subject)].read(row))


def checked(kind: Kind, document: Document) -> Checked:
    """Return the document with its defaults, or raise `ValidationError` by field."""
    form = kind.document(data=document)
    form.is_valid(raise_exception=True)
    return Checked(dict(form.validated_data), plain(form.data))


def plain(document: Mapping[str, Any]) -> Document:
    """Return the document as JSON has it."""
    return dict(json.loads(json.dumps(document, cls=DjangoJSONEncoder)))


def awaiting(subject: str, row: Row | None, after: Document) -> Flag | None:
    """Return the flag for whose sake the change needs approval, if there is one."""
    if isinstance(row, Flag):
        return row if row.needs_approval else None
    if isinstance(row, Segment):
        return Flag.objects.filter(rules__segment=row, needs_approval=True, is_archived=False).first()
    if subject == Subject.PLAN and after["flag"] and after["state"] != RolloutPlan.State.DRAFT:
        return Flag.objects.filter(key=after["flag"], needs_approval=True).first()
    if isinstance(row, Experiment) and after["state"] != Experiment.State.DRAFT:
        return row.flag if row.flag.needs_approval else None
    return None


def keep(
    subject: str,
    key: str,
    flag: Flag,
    patch: Mapping[str, Any],
    actor: Actor,
    why: str,
    now: datetime,
    action: str,
) -> PendingChange:
    """Keep a change for a second person to look at."""
    with writing():
        return PendingChange.objects.create(
            subject=subject,
            key=key,
            flag=flag,
            patch=plain(patch),
            action=action,
            why=why.strip(),
            asked_at=now,
            asked_by=actor.user,
            asked_by_system=actor.system,
            version=flag.version,
        )


def tell() -> None:
    """Let every process know, this one at once."""
    PayloadVersion.objects.update_or_create(pk=1, defaults={"token": uuid4()})
    snapshot.forget()
    transaction.on_commit(snapshot.forget)


def write_flag(flag: Flag, document: Document) -> None:
    """Write the flag and all that hangs on it."""
    hanging = {"variants", "rules", "prerequisites"}
    for name in document.keys() - hanging:
        setattr(flag, name, document[name])
    flag.version += 1
    flag.save()
    for rows in (flag.variants, flag.rules, flag.prerequisites):
        rows.all().delete()
    FlagVariant.objects.bulk_create(
        FlagVariant(flag=flag, position=number, **row) for number, row in enumerate(document["variants"])
    )
    segments = {row.key: row for row in Segment.objects.filter(key__in=[r["segment"] for r in document["rules"]])}
    Rule.objects.bulk_create(
        Rule(flag=flag, position=number, **row | {"segment": segments.get(row["segment"])})
        for number, row in enumerate(document["rules"])
    )
    needs = {row.key: row for row in Flag.objects.filter(key__in=[r["flag"] for r in document["prerequisites"]])}
    Prerequisite.objects.bulk_create(
        Prerequisite(flag=flag, needs=needs[row["flag"]], value=row["value"]) for row in document["prerequisites"]
    )


def write_segment(segment: Segment, document: Document) -> None:
    """Write the segment and its conditions."""
    for name in document.keys() - {"conditions"}:
        setattr(segment, name, document[name])
    segment.save()
    segment.conditions.all().delete()
    Condition.objects.bulk_create(
        Condition(segment=segment, position=number, **row) for number, row in enumerate(document["conditions"])
    )


def write_plan(plan: RolloutPlan, document: Document) -> None:
    """Write the plan, its phases and its guardrails."""
    for name in document.keys() - {"flag", "phases", "guardrails"}:
        setattr(plan, name, document[name])
    plan.flag = Flag.objects.get(key=document["flag"]) if document["flag"] else None
    plan.save()
    for rows in (plan.phases, plan.guardrails):
        rows.all().delete()
    RolloutPhase.objects.bulk_create(
        RolloutPhase(plan=plan, position=number, **row) for number, row in enumerate(document["phases"])
    )
    Guardrail.objects.bulk_create(
        Guardrail(plan=plan, position=number, **row) for number, row in enumerate(document["guardrails"])
    )


def write_experiment(experiment: Experiment, document: Document) -> None:
    """Write the experiment, its variants, and the phase that it is in."""
    named = experiment_documents.NAMED
    for name in document.keys() - {"metrics", "variants", "phase", *named}:
        setattr(experiment, name, document[name])
    for name, rows in named.items():
        setattr(experiment, name, rows.get(key=document[name]) if document[name] else None)
    is_open = document["state"] in (Experiment.State.RUNNING, Experiment.State.PAUSED)
    if is_open and experiment.started_at is None:
        experiment.started_at = document["changed_at"]
    if document["state"] == Experiment.State.FINISHED:
        experiment.finished_at = document["changed_at"]
    experiment.save()
    experiment.metrics.set(Metric.objects.filter(key__in=document["metrics"]))
    experiment.variants.exclude(key__in=[row["key"] for row in document["variants"]]).delete()
    experiment.variants.update(is_control=False)  # one control at any moment, whichever is written first
    for row in document["variants"]:
        Variant.objects.update_or_create(experiment=experiment, key=row["key"], defaults=row)
    write_phase(experiment, document)


def write_phase(experiment: Experiment, document: Document) -> None:
    """End the phase that is over, and begin the one that the document names; traffic may widen within one."""
    running = experiment.phases.filter(ended_at=None).first()
    is_over = document["state"] == Experiment.State.FINISHED or (running and running.number != document["phase"])
    traffic = document["traffic_percentage"] / 100
    if running and is_over:
        running.ended_at = document["changed_at"]
        running.save()
    elif running and running.traffic != traffic:
        running.traffic = traffic
        running.save()
    if document["phase"] and not experiment.phases.filter(number=document["phase"]).exists():
        Phase.objects.create(
            experiment=experiment,
            number=document["phase"],
            seed=f"{experiment.key}:{document['phase']}",
            traffic=traffic,
            variants=experiment_documents.shares(document["variants"]),
            started_at=document["changed_at"],
        )


KINDS = {
    Subject.FLAG: Kind(Flag, documents.FlagDocument, documents.flag_document, write_flag),
    Subject.SEGMENT: Kind(Segment, documents.SegmentDocument, documents.segment_document, write_segment),
    Subject.PLAN: Kind(RolloutPlan, documents.PlanDocument, documents.plan_document, write_plan),
    Subject.EXPERIMENT: Kind(
        Experiment,
        experiment_documents.ExperimentDocument,
        experiment_documents.experiment_document,
        write_experiment,
        experiment_documents.refuse,
    ),
}
