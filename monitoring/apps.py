from importlib import import_module

from django.apps import AppConfig

from monitoring import doctor, exposing, figures, health, queries_timed, samples, servers, tasks_counted, workers


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        health.register("database", health.database)
        health.register("migrations", health.migrations)
        health.register("redis", health.redis)
        workers.connect()
        samples.connect()
        exposing.connect()
        queries_timed.connect()
        servers.connect()
        figures.connect()
        tasks_counted.connect()
        doctor.register_lines()
        # These import models, which may not be imported before every app is known.
        maintenance = import_module("monitoring.maintenance")
        maintenance.register("optimise_database", import_module("monitoring.database").optimise)
        # Who asks for a task finds it by name, so the registry is filled in every process, not in workers only.
        import_module("monitoring.tasks")
        import_module("monitoring.panels").register_panels()
        import_module("monitoring.alerting").connect()
