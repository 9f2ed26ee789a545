"""
The rows that a new installation starts with: two flags, a rollout plan, experiment metrics and a draft experiment.

It also creates the triggers that make the change history append-only. `0001_initial` runs these functions in this order.
"""

from uuid import uuid4

from django.conf import settings
from django.utils import timezone


def add_flag(apps, schema_editor):
    """Create the flag that chooses the engine. The environment sets its initial state; later changes are made to the row."""
    apps.get_model("flags", "Flag").objects.get_or_create(
        key="wasm_recommendations",
        defaults={
            "description": "Rank feeds on the WebAssembly engine; off: on the NumPy control engine.",
            "is_enabled": settings.ENV.enable_wasm_recommendations,
            "rollout_percentage": settings.ENV.wasm_rollout_percentage,
            "changed_at": timezone.now(),
        },
    )


PHASES = [
    (5, 336, "Weeks 1-2: watch the performance metrics."),
    (15, 336, "Weeks 3-4: check the quality of the recommendations."),
    (35, 336, "Weeks 5-6: watch the behavior under higher load."),
    (75, 336, "Weeks 7-8: prepare for all members."),
    (100, 336, "From week 9: watch the stability."),
]
GUARDRAILS = [
    {"gauge": "feed_error_ratio", "threshold": 0.01, "on_breach": "roll_back"},
    {"gauge": "feed_latency_p95_ms", "threshold": 500.0, "on_breach": "roll_back"},
    {"gauge": "feed_fallback_ratio", "threshold": 0.05, "on_breach": "roll_back"},
]
PROTECT = {
    # On SQLite the test runner empties tables by DELETE after a test, so there the trigger refuses only updates.
    "sqlite": [
        """CREATE TRIGGER flags_flagchange_append_only BEFORE UPDATE ON flags_flagchange
           BEGIN SELECT RAISE(ABORT, 'The change history is append-only.'); END"""
    ],
    "postgresql": [
        """CREATE FUNCTION flags_flagchange_append_only() RETURNS trigger AS $$
           BEGIN RAISE EXCEPTION 'The change history is append-only.'; END $$ LANGUAGE plpgsql""",
        """CREATE TRIGGER flags_flagchange_append_only BEFORE UPDATE OR DELETE ON flags_flagchange
           FOR EACH ROW EXECUTE FUNCTION flags_flagchange_append_only()""",
    ],
}
RELEASE = {
    "sqlite": ["DROP TRIGGER flags_flagchange_append_only"],
    "postgresql": [
        "DROP TRIGGER flags_flagchange_append_only ON flags_flagchange",
        "DROP FUNCTION flags_flagchange_append_only()",
    ],
}


def add_plan_and_history(apps, schema_editor):
    now = timezone.now()
    Flag = apps.get_model("flags", "Flag")
    Flag.objects.get_or_create(
        key="experimental_features",
        defaults={
            "description": "Unfinished features, tested with a few members.",
            "is_enabled": True,
            "rollout_percentage": 10,
            "changed_at": now,
        },
    )
    for flag in Flag.objects.all():
        record(apps, "flag", flag.key, flag_document(flag), now)
    plan = apps.get_model("flags", "RolloutPlan").objects.create(
        key="gradual", description="5, 15, 35, 75, 100 %, two weeks each.", changed_at=now
    )
    phases = [{"percentage": p, "hours": hours, "note": note} for p, hours, note in PHASES]
    RolloutPhase = apps.get_model("flags", "RolloutPhase")
    for position, phase in enumerate(phases):
        RolloutPhase.objects.create(plan=plan, position=position, **phase)
    defaults = {"variant": "wasm_conservative", "bound": "at_most", "window_minutes": 60.0, "min_samples": 100}
    guardrails = [defaults | fields for fields in GUARDRAILS]
    Guardrail = apps.get_model("flags", "Guardrail")
    for position, guardrail in enumerate(guardrails):
        Guardrail.objects.create(plan=plan, position=position, **guardrail)
    after = {
        "key": plan.key, "flag": None, "description": plan.description, "phases": phases, "guardrails": guardrails,
        "state": "draft", "phase": 0, "phase_started_at": None,
    }
    record(apps, "plan", plan.key, after, now)
    apps.get_model("flags", "PayloadVersion").objects.get_or_create(pk=1, defaults={"token": uuid4()})


def flag_document(flag):
    plain = ("key", "description", "kind", "is_enabled", "rollout_percentage", "on_value", "default_value", "off_value")
    return {name: getattr(flag, name) for name in plain} | {
        "variants": [], "rules": [], "prerequisites": [], "starts_at": None, "ends_at": None, "expires_at": None,
        "tags": [], "owner": "", "needs_approval": False, "is_archived": False,
    }


def record(apps, subject, key, after, now):
    apps.get_model("flags", "FlagChange").objects.create(
        subject=subject, key=key, changed_at=now, system="migration", action="created", why="Created by the installation.", after=after
    )


def run_statements(statements):
    def execute(apps, schema_editor):
        for statement in statements[schema_editor.connection.vendor]:
            schema_editor.execute(statement)

    return execute


ENGAGEMENT_KINDS = ["click", "like", "comment", "share", "save", "follow"]
METRICS = {
    "engagement_rate": {"kind": "rate", "numerator": ENGAGEMENT_KINDS, "description": "Fraction of members with at least one engagement."},
    "engagements_per_member": {"kind": "mean", "numerator": ENGAGEMENT_KINDS, "description": "Engagements per member."},
    "click_through_rate": {
        "kind": "ratio",
        "numerator": ["click"],
        "denominator": ["view"],
        "prior_days": 0,
        "description": "Clicks per view.",
    },
    "negative_feedback_per_member": {
        "kind": "mean",
        "numerator": ["hide", "not_interested", "report"],
        "higher_is_better": False,
        "is_guardrail": True,
        "tolerance": 0.05,
        "description": "Posts hidden, marked as not interesting or reported, per member.",
    },
}
KEY, FLAG = "wasm_recommendation_rollout", "wasm_recommendations"
HYPOTHESIS = (
    "The WebAssembly engine serves members at least as well as the control. A wider and more diverse selection of posts "
    "increases engagement."
)
VARIANTS = [("control", 50.0, True, False), ("wasm_conservative", 25.0, False, True), ("wasm_aggressive", 25.0, False, True)]


def add_experiment(apps, schema_editor):
    Metric, now = apps.get_model("flags", "Metric"), timezone.now()
    rows = {key: Metric.objects.create(key=key, **fields) for key, fields in METRICS.items()}
    flag = apps.get_model("flags", "Flag").objects.get(key=FLAG)
    goal = rows["engagements_per_member"]
    plain = {"hypothesis": HYPOTHESIS, "traffic_percentage": 30.0, "minimum_effect": 0.03}
    experiment = apps.get_model("flags", "Experiment").objects.create(
        key=KEY, **plain, flag=flag, goal=goal, changed_at=now
    )
    others = sorted(set(rows) - {goal.key})
    experiment.metrics.set([rows[key] for key in others])
    variants = [
        {"key": key, "weight": weight, "is_control": is_control, "value": value, "config": {}}
        for key, weight, is_control, value in VARIANTS
    ]
    for row in variants:
        apps.get_model("flags", "ExperimentVariant").objects.create(experiment=experiment, **row)
    after = plain | {
        "key": KEY, "flag": FLAG, "unit": "member", "group": None, "slot_from": 0.0, "slot_to": 100.0, "holdout": None,
        "is_sticky": True, "goal": goal.key, "metrics": others, "is_bandit": False, "bandit_floor": 0.05,
        "variants": variants, "state": "draft", "phase": 0, "decision": "", "decision_reason": "",
    }
    apps.get_model("flags", "FlagChange").objects.create(
        subject="experiment", key=KEY, changed_at=now, system="migration", action="created", why="Created by the installation.", after=after
    )
