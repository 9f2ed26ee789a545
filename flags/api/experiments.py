"""Experiments over REST: drafts, the steps of their life, results, and what clients note that evaluate themselves."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from flags.api import shapes
from flags.api.access import CHANGE, READ, RELEASE, FlagView, actor_of
from flags.api.views import checked, patch_of, waits
from flags.documents import Closed
from flags.experiments import report
from flags.experiments.asking import ask_for_look
from flags.experiments.documents import ExperimentDocument, experiment_document
from flags.models import Experiment, FlagChange, PendingChange, Subject
from flags.services import experiments
from flags.services.change import change
from flags.services.errors import UnknownKeyError
from monitoring.clock import now

MOST_CHANGES = 100


class ExperimentIn(ExperimentDocument):
    why = serializers.CharField(help_text="Kept with the change.")


class ExperimentsOut(serializers.Serializer):
    experiments = ExperimentDocument(many=True)


class StepIn(Closed):
    why = serializers.CharField(help_text="Kept with the change.")
    traffic_percentage = serializers.FloatField(
        min_value=0, max_value=100, required=False, help_text="Of widen: how many are to be in."
    )
    weights = serializers.DictField(
        child=serializers.FloatField(min_value=0), required=False, help_text="Of phase: each variant's new weight."
    )
    decision = serializers.CharField(
        required=False, allow_blank=True, help_text="Of finish: the variant that won; empty: none."
    )


NEEDS = {"widen": "traffic_percentage", "phase": "weights", "finish": "decision"}
"""What a step asks for beside a reason."""


class LineOut(serializers.Serializer):
    metric = serializers.CharField()
    description = serializers.CharField()
    is_goal = serializers.BooleanField()
    is_guardrail = serializers.BooleanField()
    higher_is_better = serializers.BooleanField()
    variant = serializers.CharField()
    segment = serializers.CharField(help_text="Such as language=en; empty: everybody.")
    verdict = serializers.CharField(help_text="better, worse, safe or open")
    numbers = serializers.DictField(child=serializers.FloatField(allow_null=True))


class LookOut(serializers.Serializer):
    made_at = serializers.DateTimeField()
    variant = serializers.CharField()
    lift = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class ResultsOut(serializers.Serializer):
    experiment = serializers.CharField()
    flag = serializers.CharField()
    hypothesis = serializers.CharField()
    state = serializers.CharField()
    decision = serializers.CharField()
    decided_because = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    goal = serializers.CharField()
    minimum_effect = serializers.FloatField()
    made_at = serializers.DateTimeField(allow_null=True, help_text="null: nobody has looked yet.")
    phase = serializers.IntegerField()
    units = serializers.DictField(child=serializers.IntegerField())
    daily_units = serializers.DictField(child=serializers.DictField(child=serializers.IntegerField()))
    sample_ratio_p = serializers.FloatField()
    is_split_wrong = serializers.BooleanField(help_text="true: believe none of the rest.")
    needed_units = serializers.FloatField(allow_null=True)
    days_left = serializers.FloatField(allow_null=True)
    lines = LineOut(many=True)
    looks = LookOut(many=True)


class ExperimentsView(FlagView):
    """Every experiment."""

    @extend_schema(
        operation_id="list_experiments",
        tags=["experiments"],
        summary="Experiments by key",
        parameters=[OpenApiParameter("state", str, enum=Experiment.State.values)],
        responses={200: ExperimentsOut},
    )
    def get(self, request: Request) -> Response:
        """Return them; of one state, if it is named."""
        rows = Experiment.objects.select_related("flag", "group", "holdout", "goal").prefetch_related("variants")
        if state := request.query_params.get("state"):
            rows = rows.filter(state=state)
        return Response({"experiments": [experiment_document(row) for row in rows]})

    @extend_schema(
        operation_id="make_experiment",
        tags=["experiments"],
        summary="Draft an experiment",
        request=ExperimentIn,
        responses={201: ExperimentDocument, **shapes.problems(400, 409)},
    )
    def post(self, request: Request) -> Response:
        """Make a draft; start it with /experiments/KEY/start."""
        patch, why = patch_of(request)
        key, subject = str(patch.get("key", "")), Subject.EXPERIMENT
        change(subject=subject, key=key, patch=patch, actor=actor_of(request), why=why, now=now(), create=True)
        return Response(experiment_document(experiments.find(key)), status=201)


class OneExperimentView(FlagView):
    """One experiment."""

    @extend_schema(
        operation_id="read_experiment",
        tags=["experiments"],
        summary="One experiment",
        responses={200: ExperimentDocument, **shapes.problems(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return it."""
        return Response(experiment_document(experiments.find(key)))

    @extend_schema(
        operation_id="change_experiment",
        tags=["experiments"],
        summary="Change a draft",
        request=ExperimentIn(partial=True),
        responses={200: ExperimentDocument, 202: shapes.WaitingOut, **shapes.problems(400, 404, 409)},
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields that the body names; of one that runs only what is not frozen."""
        patch, why = patch_of(request)
        actor, subject = actor_of(request), Subject.EXPERIMENT
        done = change(subject=subject, key=key, patch=patch, actor=actor, why=why, now=now())
        return waits(done) if isinstance(done, PendingChange) else self.get(request, key)


class StepView(FlagView):
    """The steps of its life."""

    writers = RELEASE

    @extend_schema(
        operation_id="steer_experiment",
        tags=["experiments"],
        summary="Start, pause, resume, widen, begin a phase or finish",
        parameters=[OpenApiParameter("step", str, OpenApiParameter.PATH, enum=sorted(experiments.STEPS))],
        request=StepIn,
        responses={200: ExperimentDocument, 202: shapes.WaitingOut, **shapes.problems(400, 404, 409)},
    )
    def post(self, request: Request, key: str, step: str) -> Response:
        """Do it, and record why."""
        if step not in experiments.STEPS:
            raise UnknownKeyError("step", step)
        asked = checked(StepIn, request)
        needed = {name: asked[name] for name in [NEEDS.get(step, "")] if name in asked}
        if step in NEEDS and not needed:
            raise ValidationError({NEEDS[step]: "This step needs it."})
        do: Any = experiments.STEPS[step]
        done = do(key=key, actor=actor_of(request), why=asked["why"], now=now(), **needed)
        return waits(done) if isinstance(done, PendingChange) else Response(experiment_document(done))


class ExperimentChangesView(FlagView):
    """The record."""

    @extend_schema(
        operation_id="list_experiment_changes",
        tags=["experiments"],
        summary="What was done to an experiment, newest first",
        responses={200: shapes.ChangesOut, **shapes.problems(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the newest hundred."""
        experiments.find(key)
        rows = FlagChange.objects.filter(subject=Subject.EXPERIMENT, key=key).select_related("user", "approved_by")
        return Response({"changes": [shapes.change_shape(row) for row in rows[:MOST_CHANGES]], "next_before": None})


class ResultsView(FlagView):
    """What came of it."""

    writers = CHANGE
    scopes = {"GET": READ, "POST": READ}
    only_reads = True

    @extend_schema(
        operation_id="read_results",
        tags=["experiments"],
        summary="Results of an experiment",
        parameters=[OpenApiParameter("format", str, enum=["json", "csv"], description="csv: the comparisons alone.")],
        responses={200: ResultsOut, **shapes.problems(404)},
    )
    def get(self, request: Request, key: str) -> HttpResponse:
        """Return the newest look, and how the goal's lift settled."""
        found = report.report_of(experiments.find(key))
        if request.query_params.get("format") == "csv":
            return HttpResponse(report.as_csv(found), "text/csv")
        return Response(report.as_json(found))

    @extend_schema(
        operation_id="look_at_experiment",
        tags=["experiments"],
        summary="Have an experiment looked at now",
        request=None,
        responses={202: None, **shapes.problems(404)},
    )
    def post(self, request: Request, key: str) -> Response:
        """Ask the analysis worker for a look; made_at of the results tells when it is there."""
        ask_for_look(experiments.find(key).key)
        return Response(status=202)
