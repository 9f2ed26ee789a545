"""Experiments over REST: drafts, the steps of their life, results, and what clients note that evaluate themselves."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from flags.api import schemas
from flags.api.permissions import CHANGE_PERMISSION, READ_SCOPE, RELEASE_PERMISSION, BaseFlagView, get_actor
from flags.api.views import parse_patch, pending_change_response, validate_body
from flags.documents import StrictSerializer
from flags.experiments import report
from flags.experiments.documents import ExperimentDocument, experiment_document
from flags.experiments.request_analysis import request_interim_analysis
from flags.models import ChangeSubject, Experiment, FlagChange, PendingChange
from flags.services import experiments
from flags.services.change import apply_change
from flags.services.errors import UnknownKeyError
from monitoring.clock import now

MAX_CHANGES = 100


class ExperimentIn(ExperimentDocument):
    why = serializers.CharField(help_text="Kept with the change.")


class ExperimentsOut(serializers.Serializer):
    experiments = ExperimentDocument(many=True)


class ExperimentStepIn(StrictSerializer):
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


REQUIRED_STEP_FIELDS = {"widen": "traffic_percentage", "phase": "weights", "finish": "decision"}
"""What a step asks for beside a reason."""


class ComparisonOut(serializers.Serializer):
    metric = serializers.CharField()
    description = serializers.CharField()
    is_goal = serializers.BooleanField()
    is_guardrail = serializers.BooleanField()
    higher_is_better = serializers.BooleanField()
    variant = serializers.CharField()
    slice_label = serializers.CharField(help_text="Such as language=en; empty: everybody.")
    verdict = serializers.CharField(help_text="better, worse, safe or open")
    numbers = serializers.DictField(child=serializers.FloatField(allow_null=True))


class LiftPointOut(serializers.Serializer):
    analyzed_at = serializers.DateTimeField()
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
    decision_reason = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    goal = serializers.CharField()
    minimum_effect = serializers.FloatField()
    analyzed_at = serializers.DateTimeField(allow_null=True, help_text="null: nobody has looked yet.")
    phase = serializers.IntegerField()
    units = serializers.DictField(child=serializers.IntegerField())
    daily_units = serializers.DictField(child=serializers.DictField(child=serializers.IntegerField()))
    sample_ratio_p = serializers.FloatField()
    has_sample_ratio_mismatch = serializers.BooleanField(help_text="true: believe none of the rest.")
    needed_units = serializers.FloatField(allow_null=True)
    days_left = serializers.FloatField(allow_null=True)
    comparisons = ComparisonOut(many=True)
    lift_history = LiftPointOut(many=True)


class ExperimentListView(BaseFlagView):
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
        operation_id="create_experiment",
        tags=["experiments"],
        summary="Draft an experiment",
        request=ExperimentIn,
        responses={201: ExperimentDocument, **schemas.problem_responses(400, 409)},
    )
    def post(self, request: Request) -> Response:
        """Make a draft; start it with /experiments/KEY/start."""
        patch, why = parse_patch(request)
        key, subject = str(patch.get("key", "")), ChangeSubject.EXPERIMENT
        apply_change(subject=subject, key=key, patch=patch, actor=get_actor(request), why=why, now=now(), create=True)
        return Response(experiment_document(experiments.find_experiment(key)), status=201)


class ExperimentDetailView(BaseFlagView):
    """One experiment."""

    @extend_schema(
        operation_id="read_experiment",
        tags=["experiments"],
        summary="One experiment",
        responses={200: ExperimentDocument, **schemas.problem_responses(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return it."""
        return Response(experiment_document(experiments.find_experiment(key)))

    @extend_schema(
        operation_id="update_experiment",
        tags=["experiments"],
        summary="Change a draft",
        request=ExperimentIn(partial=True),
        responses={200: ExperimentDocument, 202: schemas.PendingChangeOut, **schemas.problem_responses(400, 404, 409)},
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields that the body names; of one that runs only what is not frozen."""
        patch, why = parse_patch(request)
        actor, subject = get_actor(request), ChangeSubject.EXPERIMENT
        done = apply_change(subject=subject, key=key, patch=patch, actor=actor, why=why, now=now())
        return pending_change_response(done) if isinstance(done, PendingChange) else self.get(request, key)


class ExperimentStepView(BaseFlagView):
    """The steps of its life."""

    write_permission = RELEASE_PERMISSION

    @extend_schema(
        operation_id="run_experiment_step",
        tags=["experiments"],
        summary="Start, pause, resume, widen, begin a phase or finish",
        parameters=[OpenApiParameter("step", str, OpenApiParameter.PATH, enum=sorted(experiments.STEPS))],
        request=ExperimentStepIn,
        responses={200: ExperimentDocument, 202: schemas.PendingChangeOut, **schemas.problem_responses(400, 404, 409)},
    )
    def post(self, request: Request, key: str, step: str) -> Response:
        """Do it, and record why."""
        if step not in experiments.STEPS:
            raise UnknownKeyError("step", step)
        asked = validate_body(ExperimentStepIn, request)
        needed = {name: asked[name] for name in [REQUIRED_STEP_FIELDS.get(step, "")] if name in asked}
        if step in REQUIRED_STEP_FIELDS and not needed:
            raise ValidationError({REQUIRED_STEP_FIELDS[step]: "This step needs it."})
        do: Any = experiments.STEPS[step]
        done = do(key=key, actor=get_actor(request), why=asked["why"], now=now(), **needed)
        return pending_change_response(done) if isinstance(done, PendingChange) else Response(experiment_document(done))


class ExperimentChangesView(BaseFlagView):
    """The record."""

    @extend_schema(
        operation_id="list_experiment_changes",
        tags=["experiments"],
        summary="What was done to an experiment, newest first",
        responses={200: schemas.ChangesOut, **schemas.problem_responses(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the newest hundred."""
        experiments.find_experiment(key)
        rows = FlagChange.objects.filter(subject=ChangeSubject.EXPERIMENT, key=key).select_related(
            "user", "approved_by"
        )
        return Response({"changes": [schemas.serialize_change(row) for row in rows[:MAX_CHANGES]], "next_before": None})


class ExperimentResultsView(BaseFlagView):
    """What came of it."""

    write_permission = CHANGE_PERMISSION
    scopes = {"GET": READ_SCOPE, "POST": READ_SCOPE}
    is_read_only = True

    @extend_schema(
        operation_id="read_results",
        tags=["experiments"],
        summary="Results of an experiment",
        parameters=[OpenApiParameter("format", str, enum=["json", "csv"], description="csv: the comparisons alone.")],
        responses={200: ResultsOut, **schemas.problem_responses(404)},
    )
    def get(self, request: Request, key: str) -> HttpResponse:
        """Return the newest look, and how the goal's lift settled."""
        found = report.build_report(experiments.find_experiment(key))
        if request.query_params.get("format") == "csv":
            return HttpResponse(report.report_to_csv(found), "text/csv")
        return Response(report.report_to_json(found))

    @extend_schema(
        operation_id="analyze_experiment",
        tags=["experiments"],
        summary="Have an experiment looked at now",
        request=None,
        responses={202: None, **schemas.problem_responses(404)},
    )
    def post(self, request: Request, key: str) -> Response:
        """Ask the analysis worker for a look; made_at of the results tells when it is there."""
        request_interim_analysis(experiments.find_experiment(key).key)
        return Response(status=202)
