from importlib import import_module

from django.apps import AppConfig

from monitoring import doctor, health, samples, workers


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        health.register("database", health.database)
        health.register("migrations", health.migrations)
        health.register("redis", health.redis)
        workers.connect()
        samples.connect()
        doctor.register_lines()
        # These import models, which may not be imported before every app is known.
        maintenance = import_module("monitoring.maintenance")
        maintenance.register("optimise_database", import_module("monitoring.database").optimise)
        # A task is asked for by its name, so that every process needs to know it, not workers only.
        import_module("monitoring.tasks")
