"""What ships: the second flag, the plan of phases, the roots of the record, and triggers that keep the record."""

from uuid import uuid4

from django.db import migrations
from django.utils import timezone

PHASES = [
    (5, 336, "Week 1-2: watch the performance metrics."),
    (15, 336, "Week 3-4: check the quality of what is recommended."),
    (35, 336, "Week 5-6: see how it bears a higher load."),
    (75, 336, "Week 7-8: prepare for everybody."),
    (100, 336, "Week 9 and on: watch that it stays stable."),
]
GUARDRAILS = [
    {"reading": "feed_error_ratio", "threshold": 0.01, "on_breach": "roll_back"},
    {"reading": "feed_latency_p95_ms", "threshold": 500.0, "on_breach": "roll_back"},
    {"reading": "feed_fallback_ratio", "threshold": 0.05, "on_breach": "roll_back"},
]
PROTECT = {
    # A table of SQLite's is emptied by DELETE when tests are over, so only changes are refused there.
    "sqlite": [
        """CREATE TRIGGER flags_flagchange_kept BEFORE UPDATE ON flags_flagchange
           BEGIN SELECT RAISE(ABORT, 'The record of changes is kept as it was written.'); END"""
    ],
    "postgresql": [
        """CREATE FUNCTION flags_flagchange_kept() RETURNS trigger AS $$
           BEGIN RAISE EXCEPTION 'The record of changes is kept as it was written.'; END $$ LANGUAGE plpgsql""",
        """CREATE TRIGGER flags_flagchange_kept BEFORE UPDATE OR DELETE ON flags_flagchange
           FOR EACH ROW EXECUTE FUNCTION flags_flagchange_kept()""",
    ],
}
RELEASE = {
    "sqlite": ["DROP TRIGGER flags_flagchange_kept"],
    "postgresql": [
        "DROP TRIGGER flags_flagchange_kept ON flags_flagchange",
        "DROP FUNCTION flags_flagchange_kept()",
    ],
}


def ship(apps, schema_editor):
    now = timezone.now()
    Flag = apps.get_model("flags", "Flag")
    Flag.objects.get_or_create(
        key="experimental_features",
        defaults={
            "description": "Features that are tried out on a few before they are finished.",
            "is_enabled": True,
            "rollout_percentage": 10,
            "changed_at": now,
        },
    )
    for flag in Flag.objects.all():
        record(apps, "flag", flag.key, flag_document(flag), now)
    plan, made = apps.get_model("flags", "RolloutPlan").objects.get_or_create(
        key="gradual",
        defaults={"description": "5, 15, 35, 75, 100 %, two weeks each.", "changed_at": now},
    )
    if made:
        phases = [{"percentage": p, "hours": hours, "note": note} for p, hours, note in PHASES]
        RolloutPhase = apps.get_model("flags", "RolloutPhase")
        for position, phase in enumerate(phases):
            RolloutPhase.objects.create(plan=plan, position=position, **phase)
        defaults = {"variant": "wasm_conservative", "bound": "at_most", "window_minutes": 60.0, "min_samples": 100}
        guardrails = [defaults | guard for guard in GUARDRAILS]
        Guardrail = apps.get_model("flags", "Guardrail")
        for position, guard in enumerate(guardrails):
            Guardrail.objects.create(plan=plan, position=position, **guard)
        after = {
            "key": plan.key, "flag": None, "description": plan.description, "phases": phases, "guardrails": guardrails,
            "state": "draft", "phase": 0, "phase_since": None,
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
        subject=subject, key=key, at=now, system="migration", action="made", why="It ships with the service.", after=after
    )


def run(statements):
    def execute(apps, schema_editor):
        for statement in statements[schema_editor.connection.vendor]:
            schema_editor.execute(statement)

    return execute


class Migration(migrations.Migration):
    dependencies = [("flags", "0004_flags")]
    operations = [
        migrations.RunPython(ship, migrations.RunPython.noop),
        migrations.RunPython(run(PROTECT), run(RELEASE)),
    ]
