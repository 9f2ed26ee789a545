"""The addresses of flags."""

from django.urls import path

from flags.api import experiments, ofrep, views

urlpatterns = [
    path("ofrep/v1/evaluate/flags", ofrep.EvaluateFlagsView.as_view(), name="ofrep-flags"),
    path("ofrep/v1/evaluate/flags/<path:key>", ofrep.EvaluateFlagView.as_view(), name="ofrep-flag"),
    path("api/v1/flags", views.FlagListView.as_view(), name="api-flags"),
    path("api/v1/flags/<slug:key>", views.FlagDetailView.as_view(), name="api-flag"),
    path("api/v1/flags/<slug:key>/kill", views.KillFlagView.as_view(), name="api-flag-kill"),
    path("api/v1/flags/<slug:key>/changes", views.FlagChangesView.as_view(), name="api-flag-changes"),
    path("api/v1/flags/<slug:key>/restore", views.RestoreFlagView.as_view(), name="api-flag-restore"),
    path("api/v1/flags/<slug:key>/explain", views.ExplainFlagView.as_view(), name="api-flag-explain"),
    path("api/v1/segments", views.SegmentListView.as_view(), name="api-segments"),
    path("api/v1/segments/<slug:key>", views.SegmentDetailView.as_view(), name="api-segment"),
    path("api/v1/rollouts", views.RolloutListView.as_view(), name="api-rollouts"),
    path("api/v1/rollouts/<slug:key>/<slug:action>", views.RolloutActionView.as_view(), name="api-rollout-action"),
    path("api/v1/experiments", experiments.ExperimentListView.as_view(), name="api-experiments"),
    path("api/v1/experiments/<slug:key>", experiments.ExperimentDetailView.as_view(), name="api-experiment"),
    path("api/v1/experiments/<slug:key>/changes", experiments.ExperimentChangesView.as_view()),
    path(
        "api/v1/experiments/<slug:key>/results",
        experiments.ExperimentResultsView.as_view(),
        name="api-experiment-results",
    ),
    path(
        "api/v1/experiments/<slug:key>/<slug:step>",
        experiments.ExperimentStepView.as_view(),
        name="api-experiment-step",
    ),
    path("api/v1/approvals", views.ApprovalListView.as_view(), name="api-approvals"),
    path(
        "api/v1/approvals/<int:pending_id>/<slug:decision>", views.ApprovalDecisionView.as_view(), name="api-approval"
    ),
]
