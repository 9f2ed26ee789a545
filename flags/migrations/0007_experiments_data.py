"""What ships: metrics of what members do, and the experiment of the first rollout, as a draft."""

from django.db import migrations
from django.utils import timezone

ENGAGED = ["click", "like", "comment", "share", "save", "follow"]
METRICS = {
    "engaged": {"kind": "rate", "numerator": ENGAGED, "description": "Members who did anything with a post."},
    "engagements": {"kind": "mean", "numerator": ENGAGED, "description": "Acts that speak for a post, a member."},
    "click_through": {
        "kind": "ratio",
        "numerator": ["click"],
        "denominator": ["view"],
        "prior_days": 0,
        "description": "Clicks a view.",
    },
    "turned_down": {
        "kind": "mean",
        "numerator": ["hide", "not_interested", "report"],
        "higher_is_better": False,
        "is_guardrail": True,
        "tolerance": 0.05,
        "description": "Posts hidden, turned down or reported, a member.",
    },
}
KEY, FLAG = "wasm_recommendation_rollout", "wasm_recommendations"
HYPOTHESIS = (
    "The WebAssembly engine serves members at least as well as the control, and reaching further and spreading wider "
    "has them do more with what they are shown."
)
VARIANTS = [("control", 50.0, True, False), ("wasm_conservative", 25.0, False, True), ("wasm_aggressive", 25.0, False, True)]


def ship(apps, schema_editor):
    Metric, now = apps.get_model("flags", "Metric"), timezone.now()
    rows = {key: Metric.objects.get_or_create(key=key, defaults=about)[0] for key, about in METRICS.items()}
    flag = apps.get_model("flags", "Flag").objects.filter(key=FLAG).first()
    if flag is None:
        return
    goal = rows["engagements"]
    plain = {"hypothesis": HYPOTHESIS, "traffic_percentage": 30.0, "minimum_effect": 0.03}
    experiment, is_new = apps.get_model("flags", "Experiment").objects.get_or_create(
        key=KEY, defaults=plain | {"flag": flag, "goal": goal, "changed_at": now}
    )
    if not is_new:
        return
    others = sorted(set(rows) - {goal.key})
    experiment.metrics.set([rows[key] for key in others])
    variants = [
        {"key": key, "weight": weight, "is_control": is_control, "value": value, "config": {}}
        for key, weight, is_control, value in VARIANTS
    ]
    for row in variants:
        apps.get_model("flags", "Variant").objects.create(experiment=experiment, **row)
    after = plain | {
        "key": KEY, "flag": FLAG, "unit": "member", "group": None, "slot_from": 0.0, "slot_to": 100.0, "holdout": None,
        "is_sticky": True, "goal": goal.key, "metrics": others, "is_bandit": False, "bandit_floor": 0.05,
        "variants": variants, "state": "draft", "phase": 0, "decision": "", "decided_because": "",
    }
    apps.get_model("flags", "FlagChange").objects.create(
        subject="trial", key=KEY, at=now, system="migration", action="made", why="It ships with the service.", after=after
    )


class Migration(migrations.Migration):
    dependencies = [("flags", "0006_experiments")]
    operations = [migrations.RunPython(ship, migrations.RunPython.noop)]
