# The commands of the project. They need Python 3.11 or newer, git and make; each target installs the rest into .venv.
PYTHON ?= python3
PY := .venv/bin/python
# A process starts twice as fast if Python may store the modules that it compiles.
unexport PYTHONDONTWRITEBYTECODE

STACK_OPTIONS = $(if $(DATA),--data "$(DATA)") $(if $(SAMPLE),--sample "$(SAMPLE)")

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: setup docs ## Start the service with the demo, SAMPLE=movielens or DATA=folder, and run it until Ctrl-C
	@$(PY) -m recsys_project.stack run $(STACK_OPTIONS)

demo: setup ## The same, but print a feed and stop
	@$(PY) -m recsys_project.stack demo $(STACK_OPTIONS)

test: setup-dev licenses secrets ## Run all checks and tests
	@$(PY) run_checks.py

coverage: setup-dev ## Run the tests, and require that they run every line and branch
	@$(PY) run_checks.py --coverage

nightly: licenses secrets spark coverage ## Check licences and secrets, measure the coverage, and run the long tests (takes hours)
	@$(PY) -m pytest -q -n 2 -m nightly tests/generative tests/integration tests/architecture tests/inputs
	@TEST_DATABASE=postgresql EVERY_MODULE=1 $(PY) -m pytest -q -n 2 --dist worksteal tests/spec tests/integration
	@$(PY) -m pytest -q -m nightly tests/faults/test_two_versions.py
	@$(PY) -m benchmarks.soak --database postgresql
	@FAULT_SEED=$$(date +%j) FAULT_SECONDS=1800 $(PY) -m pytest -q tests/faults/test_faults.py

bench: setup-dev ## Run short benchmarks, and report what is slower than in the last run
	@$(PY) -m benchmarks.compare

setup: ## Install the service's packages into .venv
	@$(PYTHON) bootstrap.py requirements.txt
	@test -e "$${VAR_DIR:-var}/stack.json" || $(PY) -m recsys_project.stack setup

setup-dev: ## Install the packages for tests and development as well
	@$(PYTHON) bootstrap.py requirements/dev.txt

spark: setup-dev ## Install Spark for the training on several machines into var/spark
	@.venv/bin/uv venv -q --allow-existing var/spark
	@.venv/bin/uv pip sync -q --python var/spark/bin/python requirements/spark.txt

docs: setup var/site/docs/index.html ## Build the documentation's site, which the service serves at /docs/

# Sphinx has an environment of its own, so that the service's environment contains the service's packages only.
var/site/docs/index.html: $(wildcard docs/*.md docs/decisions/*.md docs/*/*.html docs/*/*.js docs/images/*) docs/conf.py docs/index.rst requirements/docs.txt
	@.venv/bin/uv venv -q --allow-existing --python $(PY) var/sphinx
	@.venv/bin/uv pip sync -q --require-hashes --python var/sphinx/bin/python requirements/docs.txt
	@var/sphinx/bin/python -m sphinx -W --keep-going -q docs var/site/docs

screenshots: setup-dev ## Take the documentation's screenshots from the service that `make run` runs
	@PYTHONPATH=. $(PY) docs/screenshots.py

transcript: setup-dev ## Time a deployment from a clone to an upgrade and a restore, and write it to the documentation (needs Caddy and PostgreSQL)
	@PYTHONPATH=. SECRET_KEY=for-the-transcript-only-xxxxxxxxxxxxx DATABASE_URL=sqlite://:memory: $(PY) docs/transcript.py

clients: setup-dev ## Generate the Python and TypeScript clients into var/clients
	@rm -rf var/clients && mkdir -p var/clients/typescript
	@DEBUG=1 $(PY) manage.py spectacular --fail-on-warn --file var/clients/openapi.yaml
	@.venv/bin/openapi-python-client generate --path var/clients/openapi.yaml --meta none --output-path var/clients/python/recsys_client
	@cp tests/clients/package.json tests/clients/package-lock.json var/clients/typescript
	@cd var/clients/typescript && npm ci --silent --no-audit --no-fund && npx openapi-typescript ../openapi.yaml --default-non-nullable=false -o schema.d.ts

examples: setup-dev ## Update the API's examples from real responses
	@WRITE_EXAMPLES=1 $(PY) -m pytest -q tests/integration/test_examples.py -k sent_and_answered

snapshots: setup-dev ## Take the pictures with which the browser tests compare the pages
	@WRITE_SNAPSHOTS=1 $(PY) -m pytest -q tests/browser/test_admin_pages.py -k look_as_stored

messages: setup-dev ## Collect the texts to translate into locale/, and compile the translations
	@$(PY) -m recsys_project.messages

sbom: setup-dev ## Write a bill of materials of the service's packages to var/sbom.json (CycloneDX)
	@mkdir -p var && .venv/bin/cyclonedx-py requirements requirements.txt --of JSON -o var/sbom.json

# Licences whose terms would bind those who use the service, as they are named in packages' metadata.
FORBIDDEN := GPL-2.0-only;GPL-2.0-or-later;GPL-3.0-only;GPL-3.0-or-later;GNU General Public License v3 (GPLv3);AGPL-3.0-only;AGPL-3.0-or-later;GNU Affero General Public License v3;SSPL-1.0
licenses: setup-dev ## List the licences of the service's packages, and fail for one that would bind its users
	@.venv/bin/pip-licenses --from=mixed --order=license --fail-on "$(FORBIDDEN)" --packages $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' requirements.txt)

secrets: setup-dev ## Search the repository for secrets; one that is none has the comment `pragma: allowlist secret`
	@git ls-files -z | xargs -0 .venv/bin/detect-secrets-hook --baseline .secrets.baseline

audit: setup-dev ## Ask PyPI for known vulnerabilities of the service's packages (needs a network)
	@.venv/bin/uv tool run pip-audit --require-hashes --disable-pip -r requirements.txt

format: setup-dev ## Format the code
	@$(PY) -m ruff format -q . && $(PY) -m ruff check -q --fix .

HELM ?= helm
chart: ## Render the Helm chart with its default values into deploy/kubernetes.yaml (needs Helm 3)
	@$(HELM) template recsys deploy/helm/recsys --kube-version 1.33.0 > deploy/kubernetes.yaml

deployment-checks: setup-dev ## Check the Helm chart: lint, the rendered file, Kubernetes' schemas (needs Helm 3 and a network)
	@$(HELM) lint --strict deploy/helm/recsys
	@$(HELM) template recsys deploy/helm/recsys --kube-version 1.33.0 | diff deploy/kubernetes.yaml -
	@.venv/bin/uv tool run kubernetes-validate==1.37.0 --strict --kubernetes-version 1.33 --quiet deploy/kubernetes.yaml

matrix: setup-dev ## Run the fast tests with each Python in PYTHONS, in environments of their own (takes an hour)
	@for python in $(PYTHONS); do \
		echo "── Python $$python"; \
		.venv/bin/uv venv -q --allow-existing --python $$python var/python-$$python && \
		.venv/bin/uv pip sync -q --require-hashes --python var/python-$$python/bin/python requirements/dev.txt && \
		var/python-$$python/bin/python -m pytest -q -n 2 tests/unit tests/spec tests/integration || exit 1; \
	done
PYTHONS ?= 3.11 3.13

kernel: setup-dev ## Build wasm/dist from wasm/src
	@$(PY) -m wasm.build

LOCK := .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"
lock: setup-dev ## Update the pinned requirements and their hashes
	@$(LOCK) requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(LOCK) requirements/dev.in -o requirements/dev.txt
	@$(LOCK) -c requirements/dev.txt requirements/run.in -o requirements.txt
	@$(LOCK) -c requirements/dev.txt requirements/spark.in -o requirements/spark.txt
	@$(LOCK) -c requirements/dev.txt requirements/pictures.in -o requirements/pictures.txt
	@$(LOCK) -c requirements/dev.txt requirements/docs.in -o requirements/docs.txt

clean: ## Delete this clone's data: database, ports, secrets, logs
	@rm -rf var

.PHONY: bench help run demo test coverage nightly setup setup-dev spark docs screenshots transcript clients examples snapshots messages sbom licenses secrets audit format chart deployment-checks matrix kernel lock clean
