"""REST endpoints of experiments: drafts, lifecycle steps, change history and results."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.utils.translation import override
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from access.inputs import Request
from access.typed_fields import StrictSerializer, TypedField
from access.views import takes
from flags.api import schemas
from flags.api.permissions import READ_SCOPE, RELEASE_PERMISSION, BaseFlagView, get_actor, permissions_for
from flags.api.views import parse_patch, pending_change_response
from flags.experiments import findings, report
from flags.experiments.documents import ExperimentDocument, experiment_document
from flags.experiments.request_analysis import request_interim_analysis
from flags.models import ChangeSubject, Experiment, FlagChange, PendingChange
from flags.serializers import Percentage, Weight
from flags.services import experiments
from flags.services.change import apply_change
from flags.services.errors import UnknownKeyError
from monitoring.clock import now

CSV_EXAMPLE = OpenApiExample("header", ",".join(report.CSV_COLUMNS), media_type="text/csv", response_only=True)

MAX_CHANGES = 100


class ExperimentsQuery(serializers.Serializer):
    """Query parameters of the list of experiments."""

    state = serializers.ChoiceField(Experiment.State.values, default="", allow_blank=True)


class ResultsQuery(serializers.Serializer):
    """Query parameters of results."""

    format = serializers.ChoiceField(["json", "csv"], default="json", help_text="csv: only the comparisons.")


class ExperimentIn(ExperimentDocument):
    why = serializers.CharField(help_text="The reason, saved with the change.")


class ExperimentsOut(serializers.Serializer):
    experiments = ExperimentDocument(many=True)


class ExperimentStepIn(StrictSerializer):
    why = serializers.CharField(help_text="The reason, saved with the change.")
    traffic_percentage = TypedField(Percentage, required=False, help_text="For widen: the new traffic percentage.")
    weights = serializers.DictField(
        child=TypedField(Weight),
        required=False,
        help_text="For phase: the new weight of each variant.",
    )
    decision = serializers.CharField(
        required=False, allow_blank=True, help_text="For finish: the winning variant's key; empty: no decision."
    )


REQUIRED_STEP_FIELDS = {"widen": "traffic_percentage", "phase": "weights", "finish": "decision"}
"""The field that a step requires besides the reason."""


class ComparisonOut(serializers.Serializer):
    metric = serializers.CharField()
    description = serializers.CharField()
    is_goal = serializers.BooleanField()
    is_guardrail = serializers.BooleanField()
    higher_is_better = serializers.BooleanField()
    variant = serializers.CharField()
    slice_label = serializers.CharField(help_text="Such as language=en; empty: all units.")
    verdict = serializers.CharField(help_text="better, worse, safe or inconclusive")
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
    analyzed_at = serializers.DateTimeField(allow_null=True, help_text="null: no analysis yet.")
    phase = serializers.IntegerField()
    units = serializers.DictField(child=serializers.IntegerField())
    daily_units = serializers.DictField(child=serializers.DictField(child=serializers.IntegerField()))
    sample_ratio_p = serializers.FloatField()
    has_sample_ratio_mismatch = serializers.BooleanField(help_text="true: do not use the other fields.")
    needed_units = serializers.FloatField(allow_null=True)
    days_left = serializers.FloatField(
        allow_null=True, help_text="At this week's pace. null: unknown, or more units are needed than there are."
    )
    reachable_units = serializers.FloatField(allow_null=True, help_text="Units that can be exposed at most.")
    comparisons = ComparisonOut(many=True)
    lift_history = LiftPointOut(many=True)


class ExperimentListView(BaseFlagView):
    """All experiments."""

    staff_permissions = permissions_for("view_experiment", POST="add_experiment")

    @extend_schema(
        operation_id="list_experiments",
        tags=["experiments"],
        summary="Experiments by key",
        responses={200: ExperimentsOut, **schemas.problem_responses(400)},
    )
    @takes(query=ExperimentsQuery())
    def get(self, request: Request) -> Response:
        """Return the experiments, optionally of one state."""
        rows = Experiment.objects.select_related("flag", "group", "holdout", "goal").prefetch_related("variants")
        if state := request.inputs.query["state"]:
            rows = rows.filter(state=state)
        return Response({"experiments": [experiment_document(row) for row in rows]})

    @extend_schema(
        operation_id="create_experiment",
        tags=["experiments"],
        summary="Draft an experiment",
        request=ExperimentIn,
        responses={201: ExperimentDocument, **schemas.problem_responses(400, 409)},
    )
    @takes(body=parse_patch)
    def post(self, request: Request) -> Response:
        """Create a draft. Start it with /experiments/KEY/start."""
        patch, why = request.inputs.body
        key, subject = str(patch.get("key", "")), ChangeSubject.EXPERIMENT
        apply_change(subject=subject, key=key, patch=patch, actor=get_actor(request), why=why, now=now(), create=True)
        return Response(experiment_document(experiments.find_experiment(key)), status=201)


class ExperimentDetailView(BaseFlagView):
    """One experiment."""

    staff_permissions = permissions_for("view_experiment", PATCH="change_experiment")

    @extend_schema(
        operation_id="read_experiment",
        tags=["experiments"],
        summary="One experiment",
        responses={200: ExperimentDocument, **schemas.problem_responses(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the experiment."""
        return Response(experiment_document(experiments.find_experiment(key)))

    @extend_schema(
        operation_id="update_experiment",
        tags=["experiments"],
        summary="Change a draft",
        request=ExperimentIn(partial=True),
        responses={200: ExperimentDocument, 202: schemas.PendingChangeOut, **schemas.problem_responses(400, 404, 409)},
    )
    @takes(body=parse_patch)
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields in the body. While the experiment runs, only fields that are not frozen can change."""
        patch, why = request.inputs.body
        actor, subject = get_actor(request), ChangeSubject.EXPERIMENT
        outcome = apply_change(subject=subject, key=key, patch=patch, actor=actor, why=why, now=now())
        return pending_change_response(outcome) if isinstance(outcome, PendingChange) else self.get(request, key)


class ExperimentStepView(BaseFlagView):
    """The lifecycle steps of an experiment."""

    staff_permissions = {"POST": RELEASE_PERMISSION}

    @extend_schema(
        operation_id="run_experiment_step",
        tags=["experiments"],
        summary="Start, pause, resume, widen, begin a phase or finish",
        parameters=[OpenApiParameter("step", str, OpenApiParameter.PATH, enum=sorted(experiments.STEPS))],
        responses={200: ExperimentDocument, 202: schemas.PendingChangeOut, **schemas.problem_responses(400, 404, 409)},
    )
    @takes(body=ExperimentStepIn())
    def post(self, request: Request, key: str, step: str) -> Response:
        """Run the step and record the reason."""
        if step not in experiments.STEPS:
            raise UnknownKeyError("step", step)
        body = request.inputs.body
        options = {name: body[name] for name in [REQUIRED_STEP_FIELDS.get(step, "")] if name in body}
        if step in REQUIRED_STEP_FIELDS and not options:
            raise ValidationError({REQUIRED_STEP_FIELDS[step]: f"The step {step} requires this field."})
        run_step: Any = experiments.STEPS[step]
        outcome = run_step(key=key, actor=get_actor(request), why=body["why"], now=now(), **options)
        if isinstance(outcome, PendingChange):
            return pending_change_response(outcome)
        return Response(experiment_document(outcome))


class ExperimentChangesView(BaseFlagView):
    """The change history of an experiment."""

    staff_permissions = permissions_for("view_flagchange")

    @extend_schema(
        operation_id="list_experiment_changes",
        tags=["experiments"],
        summary="Changes of an experiment, newest first",
        responses={200: schemas.ChangesOut, **schemas.problem_responses(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the newest hundred changes."""
        experiments.find_experiment(key)
        rows = FlagChange.objects.filter(subject=ChangeSubject.EXPERIMENT, key=key).select_related(
            "user", "approved_by"
        )
        return Response({"changes": [schemas.serialize_change(row) for row in rows[:MAX_CHANGES]], "next_before": None})


class ExperimentResultsView(BaseFlagView):
    """The results of an experiment."""

    staff_permissions = permissions_for("view_experiment", POST="change_experiment")
    scopes = {"GET": READ_SCOPE, "POST": READ_SCOPE}
    is_read_only = True

    @extend_schema(
        operation_id="read_results",
        tags=["experiments"],
        summary="Results of an experiment",
        responses={
            (200, "application/json"): ResultsOut,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, examples=[CSV_EXAMPLE]),
            **schemas.problem_responses(400, 404),
        },
    )
    @takes(query=ResultsQuery())
    def get(self, request: Request, key: str) -> HttpResponse:
        """Return the latest analysis, and the goal's lift at each analysis of its phase."""
        results = report.build_report(experiments.find_experiment(key))
        if request.inputs.query["format"] == "csv":
            return HttpResponse(report.report_to_csv(results), "text/csv")
        with override(settings.LANGUAGE_CODE):  # the API is in English
            sentence = findings.summarize(results)
        return Response(report.report_to_json(results) | {"sentence": sentence})

    @extend_schema(
        operation_id="analyze_experiment",
        tags=["experiments"],
        summary="Analyze an experiment now",
        request=None,
        responses={202: None, **schemas.problem_responses(404)},
    )
    def post(self, request: Request, key: str) -> Response:
        """Request an interim analysis. When it is done, analyzed_at of the results is newer than this request."""
        request_interim_analysis(experiments.find_experiment(key).key)
        return Response(status=202)
