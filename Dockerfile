# One image for web, workers, beat and Flower, which differ only in their command (docker-compose.yml).
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /srv
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
# Optional packages by name: pictures (requirements/pictures.txt).
ARG OPTIONAL_PACKAGES=""
COPY requirements requirements
RUN for name in $OPTIONAL_PACKAGES; do \
        /venv/bin/pip install --no-cache-dir --require-hashes -r "requirements/$name.txt" || exit 1; \
    done

# The documentation's site, which the service serves at /docs/.
FROM python:3.11.14-slim-bookworm AS docs
WORKDIR /srv
COPY requirements/docs.txt requirements/docs.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/docs.txt
COPY docs docs
RUN python -m sphinx -W -q docs site/docs

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /srv recsys
WORKDIR /srv
COPY --from=build /venv /venv
COPY . .
COPY --from=docs /srv/site var/site
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
# Static files are part of the image. The settings need a SECRET_KEY; this one is not stored.
RUN SECRET_KEY=used-for-this-one-command-at-build-only python manage.py collectstatic --noinput --verbosity 0
USER recsys
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["python", "-m", "granian", "--interface", "rsgi", "--http", "1", "--no-ws", "--http1-header-read-timeout", "10000", "--respawn-failed-workers", "--host", "0.0.0.0", "--port", "8000", "recsys_project.rsgi:application"]
