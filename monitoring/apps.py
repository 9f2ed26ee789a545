from django.apps import AppConfig

from monitoring import doctor, health, workers


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        health.register("database", health.database)
        health.register("migrations", health.migrations)
        health.register("redis", health.redis)
        workers.connect()
        doctor.register_lines()
