"""Django settings. Every value that differs between machines comes from `environment.py`."""

import logging
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import dj_database_url
import orjson
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy

from access.versions import API_VERSION
from recsys_project.api_description import DESCRIPTION, TAGS
from recsys_project.broker_settings import broker_tls, broker_url, sentinel_transport_options
from recsys_project.environment import ROOT, parse_signing_keys, read_environment, split_secrets
from recsys_project.log_settings import logging_settings
from recsys_project.schedule import SCHEDULE

ENV = read_environment()
BASE_DIR = ROOT

SECRET_KEY = ENV.secret_key.get_secret_value() or "only-for-debug-" + "x" * 32
SECRET_KEY_FALLBACKS = split_secrets(ENV.secret_key_fallbacks)
TOKEN_SIGNING_KEYS = parse_signing_keys(ENV.token_signing_keys)
CACHE_SECRETS = split_secrets(ENV.cache_encryption_keys) or [SECRET_KEY]
DEBUG = ENV.debug
ALLOWED_HOSTS = ENV.allowed_hosts
CSRF_TRUSTED_ORIGINS = ENV.csrf_trusted_origins

# unfold comes before the admin and before every app that adds admin pages: otherwise those pages lose their style.
# access comes before allauth, because it replaces some of its templates.
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin.apps.SimpleAdminConfig",  # urls.py loads the pages: most commands need none
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "django_structlog",
    "recommendations",
    "flags",
    "access",
    "monitoring",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "django.contrib.humanize",  # for the page of allauth.mfa with a user's security keys
    "axes",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "recsys_project.security_headers.SecurityHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "recsys_project.languages.LanguageMiddleware",
    "recsys_project.internal_requests.HostCheckMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "access.sign_in.second_factor.SecondFactorMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "recsys_project.request_log.RequestLogMiddleware",
    "access.middleware.EncodingMiddleware",  # the middleware above reads neither query nor body before the view
    "access.middleware.AccessMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "monitoring.request_metrics.RequestMetricsMiddleware",
    "axes.middleware.AxesMiddleware",
]
if ENV.cors_allowed_origins:  # without origins, requests skip the middleware
    INSTALLED_APPS.append("corsheaders")
    MIDDLEWARE.insert(
        MIDDLEWARE.index("recsys_project.internal_requests.HostCheckMiddleware"),
        "corsheaders.middleware.CorsMiddleware",
    )
if ENV.otel_exporter_otlp_endpoint:  # its packages take a second to import
    INSTALLED_APPS.append("recsys_project.tracing")
# Tokens are sent in a header. Without credentials a browser sends no cookie, so another origin cannot act as signed-in
# staff.
CORS_ALLOWED_ORIGINS = ENV.cors_allowed_origins
CORS_ALLOW_CREDENTIALS = False
CORS_URLS_REGEX = r"^/(api/|ofrep/|graphql$)"
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match"]
CORS_EXPOSE_HEADERS = [
    "api-version",
    "deprecation",
    "etag",
    "link",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "sunset",
]

ROOT_URLCONF = "recsys_project.urls"
WSGI_APPLICATION = "recsys_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "recsys_project" / "templates"],  # what replaces templates of the admin's theme
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": dj_database_url.parse(ENV.database_url, conn_max_age=60, conn_health_checks=True)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Several processes write. WAL lets readers continue; IMMEDIATE makes a writer wait at the start of a transaction
    # instead of failing in the middle of it.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-64000; "
        "PRAGMA mmap_size=268435456; PRAGMA temp_store=MEMORY;",
    }
else:
    DATABASES["default"]["ENGINE"] = "recsys_project.postgresql"
    # The server keeps the plans of repeated statements: planning a feed's query takes longer than running it.
    prepared = {"server_side_binding": True, "prepare_threshold": 5}
    # A server that cannot be reached is noticed after these times, and not after the system's two hours.
    reached = {
        "connect_timeout": 5,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    DATABASES["default"]["OPTIONS"] = reached | DATABASES["default"].get("OPTIONS", {}) | prepared
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ENV.cache_redis_url,
        "KEY_PREFIX": "recsys:django",
    }
}
DJANGO_REDIS_CONNECTION_FACTORY = "monitoring.cache_connections.CacheConnectionFactory"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Sign-in. django-axes locks a user name and an address after failures, django-allauth asks for the second factor.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "admin:index"
ALLAUTH_TRUSTED_PROXY_COUNT = ENV.trusted_proxies
ACCOUNT_ADAPTER = "access.sign_in.adapters.StaffAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_METHODS = ["mfa"]  # not the password: `access.sign_in.adapters` says why
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False  # django-axes counts failures, in the database
MFA_ADAPTER = "access.sign_in.adapters.StaffMFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "recsys"
MFA_ALLOW_UNVERIFIED_EMAIL = True  # staff may have no email address
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not ENV.https or ENV.debug
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]
AXES_RESET_ON_SUCCESS = True
# Without this, someone who goes on guessing could keep a user locked for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "access.throttles.client_address"
AXES_USERNAME_CALLABLE = "access.sign_in.lockout.read_username"
AXES_LOCKOUT_TEMPLATE = "account/locked.html"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# Browsers. A development server and the embedded stack serve plain HTTP on this machine.
HAS_TLS = ENV.https and not ENV.debug
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HAS_TLS
# Probes, Prometheus and the platform's back ends call inside the private network, without the proxy that has the
# certificate. They send no cookie, so a redirect protects nothing: their key has already arrived.
SECURE_REDIRECT_EXEMPT = [r"^(livez|readyz|workersz|metrics|alertmanager|graphql)$", r"^(api/v1|ofrep)/"]
SECURE_HSTS_SECONDS = ENV.hsts_seconds if HAS_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
# W021 asks for the preload list of browsers, which is a decision about the whole domain.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENV.trusted_proxies else None
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 2**20  # limit of an API request's body

EMAIL_HOST = ENV.email_host
EMAIL_PORT = ENV.email_port
EMAIL_HOST_USER = ENV.email_user
EMAIL_HOST_PASSWORD = ENV.email_password.get_secret_value()
EMAIL_USE_TLS = ENV.email_tls
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = ENV.email_from

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = HAS_TLS
USE_THOUSAND_SEPARATOR = True
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "recsys_project.formats"
STATIC_URL = "static/"
# The kernel's JavaScript interface and the .wasm files that it loads, in the same relative folders as in wasm/.
STATICFILES_DIRS = [(f"wasm/{part}", BASE_DIR / "wasm" / part) for part in ("browser", "dist")]
STATIC_ROOT = BASE_DIR / "var" / "static"
# The documentation's site, which `make docs` builds (docs/conf.py): WhiteNoise serves it at /docs/.
WHITENOISE_ROOT = BASE_DIR / "var" / "site"
WHITENOISE_INDEX_FILE = True
with suppress(OSError):  # WhiteNoise warns if a folder is missing; a read-only image already has them
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    WHITENOISE_ROOT.mkdir(parents=True, exist_ok=True)
# The embedded stack runs no collectstatic: WhiteNoise serves the files directly from the installed packages.
WHITENOISE_USE_FINDERS = True

LOGGING = logging_settings(ENV.log_level, SECRET_KEY)
DJANGO_STRUCTLOG_USER_ID_FIELD = None  # the audit records contain the user, the log does not
DJANGO_STRUCTLOG_CELERY_TASK_FAILURE_LOG_LEVEL = logging.ERROR
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["access.renderers.JSONRenderer"],
    "ORJSON_RENDERER_OPTIONS": (orjson.OPT_UTC_Z,),
    # Only for the OpenAPI schema: `access.inputs` parses the bodies.
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    # A new view requires authentication and a scope unless it declares something else.
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.authentication.KeyOrToken", "access.authentication.StaffSession"],
    "DEFAULT_PERMISSION_CLASSES": ["access.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["access.throttles.RateLimitThrottle"],
    # A view may have its own parameter `format`: with DRF's parameter of that name, an unknown format would be a 404.
    "URL_FORMAT_OVERRIDE": None,
    "NUM_PROXIES": ENV.trusted_proxies,
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "recommendations.api.exception_handler.ProblemHandler",
    "EXCEPTION_FORMATTER_CLASS": "recommendations.api.exception_handler.ProblemFormatter",
    "NESTED_FIELD_SEPARATOR": "/",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "recsys",
    "DESCRIPTION": DESCRIPTION,
    "TAGS": [{"name": name, "description": description} for name, description in TAGS.items()],
    "VERSION": API_VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "recsys_project.openapi.add_problems_and_examples",
    ],
    # JavaScript, because `CodeSamples` is a function of access/static/access/api_docs.js.
    "SWAGGER_UI_SETTINGS": "{deepLinking: true, filter: true, defaultModelsExpandDepth: 0, plugins: [CodeSamples]}",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    # The schema contains no data. The endpoints that it describes check their own permissions.
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "ENUM_NAME_OVERRIDES": {
        "ReasonCode": [(reason, reason) for reason in ("author", "topic", "kind")],
        "JobKind": "recommendations.services.work.KIND_NAMES",
        "JobState": "recommendations.api.serializers.JOB_STATES",
        "JobPriority": "recommendations.services.work.PRIORITY_NAMES",
        "EventStatus": "recommendations.api.serializers.EVENT_STATUSES",
        "InteractionKind": "recommendations.api.serializers.INTERACTION_KIND_NAMES",
        "FlagKind": "flags.models.flags.Flag.Kind",
        "RolloutState": "flags.models.plans.RolloutPlan.State",
        "ExperimentState": "flags.models.experiments.Experiment.State",
    },
}
# The blue of the product's other pages, in the shades that the admin's theme names.
ADMIN_BLUE = {
    "50": "#eff4ff",
    "100": "#dce6fd",
    "200": "#bfd1fb",
    "300": "#93b3f8",
    "400": "#8ab0ff",
    "500": "#3f74e8",
    "600": "#2457c5",
    "700": "#1f4aa8",
    "800": "#1e3f88",
    "900": "#1d386c",
    "950": "#152343",
}
UNFOLD = {
    "SITE_TITLE": "recsys",
    "SITE_HEADER": "recsys",
    "SITE_ICON": lambda request: static("access/logo.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("access/logo.svg")},
    ],
    "STYLES": [lambda request: static("access/admin.css")],
    "COLORS": {"primary": ADMIN_BLUE},
    "SHOW_LANGUAGES": True,
    "SIDEBAR": {"navigation": "recsys_project.admin_pages.sidebar"},
    "DASHBOARD_CALLBACK": "recsys_project.admin_pages.index_context",
    # Menu of the site's name: on a phone the sidebar is hidden behind a button.
    "SITE_DROPDOWN": [
        {"icon": "insights", "title": gettext_lazy("Product dashboard"), "link": reverse_lazy("product")},
        {"icon": "monitoring", "title": gettext_lazy("Operations dashboard"), "link": reverse_lazy("dashboard")},
        {"icon": "explore", "title": gettext_lazy("Feed explorer"), "link": reverse_lazy("explorer")},
    ],
}

if ENV.prometheus_multiproc_dir:  # must exist before the first metric is recorded
    Path(ENV.prometheus_multiproc_dir).mkdir(parents=True, exist_ok=True)

# Celery. A comment gives the reason for each setting that is not obvious.
CELERY_BROKER_URL = broker_url(ENV)
CELERY_BROKER_USE_SSL = broker_tls(ENV)
CELERY_TASK_DEFAULT_QUEUE = "interactive"
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_RETRY_ON_WORKER_LOST = True  # retry the task of a killed child process …
CELERY_TASK_REJECT_ON_WORKER_LOST = False  # … but with a limit: rejecting would requeue it forever
CELERY_TASK_TIME_LIMIT = 3600
CELERY_TASK_SOFT_TIME_LIMIT = 3300
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 7200,  # must exceed the longest task, or Redis delivers that task twice
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "global_keyprefix": "recsys:",
    **sentinel_transport_options(ENV),
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CHANNEL_ERROR_RETRY = True  # a Redis that refuses writes is treated as one that cannot be reached
CELERY_TASK_PUBLISH_RETRY = False  # what must not be lost is a row, and is published again
CELERY_WORKER_REDIRECT_STDOUTS = False  # with it, a traceback is one log line for each piece that Python writes
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_ETA_TASK_LIMIT = 1000
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 4_000_000  # KiB; the limit of the kernel's memory is far lower
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_TASK_IGNORE_RESULT = True  # a job's result is in its row
CELERY_TIMEZONE = "UTC"
BEAT_SCHEDULE = SCHEDULE  # recsys_project/celery.py gives it to Celery
TASK_APP = "recsys_project.celery.app"
CELERY_BEAT_MAX_LOOP_INTERVAL = 2  # each turn extends the lock, well before it expires
# redbeat reads only these names. Its lock lets one of several beat processes schedule tasks. If that one is killed,
# another one acquires the lock when it expires.
REDBEAT_REDIS_URL = ENV.redis_url
REDBEAT_REDIS_OPTIONS: dict[str, object] = {}  # recsys_project/beat.py makes the client
REDBEAT_KEY_PREFIX = "recsys:redbeat:"
REDBEAT_LOCK_TIMEOUT = 8
