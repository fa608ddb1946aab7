# What one can do here. `make` alone lists it.

SHELL  := /bin/sh
# Python built without optimisations, as pyenv does unless told otherwise, costs twice the CPU: the system's own goes first
# where it is new enough and complete, and then whatever is called python3.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do \
	$$p -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; \
	done; echo python3)
PREFIX ?= /opt/splice
RELEASES = $(PREFIX)/releases
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' proxy/__init__.py)
# Where systemd looks for what an administrator has built; /etc/systemd/system is for changes to it.
SYSTEMD := /usr/local/lib
# Whether the files are for the system that runs, and not for a package or an image.
LIVE   := $(if $(DESTDIR),,$(wildcard /run/systemd/system))
BIN    := .venv/bin
# Nothing of the caller's pip settings decides what is installed; a company's proxy and certificates stay.
PIP    := env -u PIP_FIND_LINKS -u PIP_CONSTRAINT -u PIP_TARGET -u PIP_PREFIX -u PIP_USER -u PIP_REQUIRE_VIRTUALENV \
          PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
UNITS   := splice.socket splice.service splice-backup.timer splice-backup.service
SOURCES := proxy tests $(wildcard bench)

# What decides and does no I/O is covered to the last branch, by its own tests. Only examples count: a branch that nothing but
# random input reaches is one that no test says anything of.
PURE       := proxy/dialects/*,proxy/routing/*,proxy/billing/keys.py,proxy/billing/prices.py,proxy/billing/credit.py,proxy/billing/spent.py,proxy/billing/wallets.py
PURE_TESTS := tests/unit/dialects tests/unit/routing tests/unit/billing

.PHONY: help setup setup-run run test check fmt lint unit chaos fuzz audit bench corpus prices covered coverage install uninstall

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

# Each stamp is newer than the lock that it was installed from, so a second run costs nothing. The
# tools include what the gateway runs on: whoever has them needs no second installation.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "found $$($(PYTHON) --version 2>&1 || true), needed Python 3.11 or later: name one, as in 'make PYTHON=python3.12'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing what the gateway runs on into .venv"
	@$(PIP) $(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(PIP) $(BIN)/pip install --quiet --no-index --no-build-isolation --no-deps -e .
	@touch $@

.venv/dev.stamp: requirements-dev.lock requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing the locked tools into .venv"
	@$(PIP) $(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@$(PIP) $(BIN)/pip install --quiet --no-index --no-build-isolation --no-deps -e .
	@touch $@ .venv/run.stamp

# Apart from the tools of every day: it has no wheels for every Python.
.venv/fuzz.stamp: requirements-fuzz.lock .venv/dev.stamp
	@echo "installing the fuzzer into .venv"
	@$(PIP) $(BIN)/pip install --quiet --require-hashes -r requirements-fuzz.lock
	@touch $@

setup: .venv/dev.stamp ## .venv with everything that the targets below need

run: .venv/run.stamp ## the gateway with config.toml, or the demo without one
	@if [ -f config.toml ]; then exec $(BIN)/splice serve -c config.toml; else exec $(BIN)/splice demo; fi

test: lint covered ## the whole suite: what CI runs
	@$(BIN)/pytest

check: fmt-check lint unit ## the quick gate: format, lint, types, layers, spelling, unit tests

fmt: setup ## reformat, and fix what can be fixed mechanically
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

.PHONY: fmt-check
fmt-check: setup
	@$(BIN)/ruff format --check $(SOURCES)

lint: setup
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell

unit: setup
	@$(BIN)/pytest tests/unit tests/test_layers.py

# SPLICE_CHAOS_REQUESTS a cell of the fault matrix, ten times as many in the storm; SPLICE_CHAOS_MUTATIONS requests with changed
# bytes; SPLICE_CHAOS_VARIANTS requests that hide another, to each proxy; SPLICE_CHAOS_CROWD slow clients at once; SPLICE_CHAOS_SEED
# is what is drawn from.
chaos: setup ## every fault at length, which takes minutes: the tables of docs/reliability.md
	@SPLICE_CHAOS_REQUESTS=$${SPLICE_CHAOS_REQUESTS:-1000} $(BIN)/pytest -q -m "" --timeout=1800 tests/chaos
	@SPLICE_UPLOAD_MIB=1024 SPLICE_ANSWER_MIB=200 SPLICE_NATIVE_BODIES=10000 SPLICE_OVERSPEND_SEEDS=50 $(BIN)/pytest -q --timeout=1800 \
		tests/integration/test_large_bodies.py tests/integration/test_native.py tests/integration/test_overspend.py

# SPLICE_FUZZ_SECONDS for each target (1800; FUZZ=name for one of them), SPLICE_FUZZ_SEED is what is drawn from.
fuzz: .venv/fuzz.stamp ## every parser against inputs that are guided by what they reach
	@$(BIN)/python -m tests.fuzz $(FUZZ)

# SPLICE_AUDIT_REQUESTS is how many requests; a million take some twenty minutes.
audit: setup ## many requests of every kind, and the books against providers and balances
	@SPLICE_AUDIT_REQUESTS=$${SPLICE_AUDIT_REQUESTS:-1000000} $(BIN)/pytest -q tests/chaos/test_audit.py

bench: setup ## the benchmark table
	@$(BIN)/python -m bench.gateway
	@$(BIN)/python -m bench.routing
	@$(BIN)/python -m bench.start

corpus: setup ## the table of replayed recordings
	@SPLICE_CORPUS_CUTS=$${SPLICE_CORPUS_CUTS:-5} $(BIN)/pytest -q tests/corpus

prices: setup ## the price list from the locked genai-prices: before a release
	@$(BIN)/python .ci/prices.py

covered: setup
	@$(BIN)/coverage run -m pytest -q -m "not hypothesis" $(PURE_TESTS) tests/golden
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100

coverage: covered ## fail if a branch of dialects, routing or billing's rules has no example; report the rest
	@$(BIN)/coverage run --append -m pytest -q tests/unit $(PURE_TESTS:%=--ignore=%)
	@$(BIN)/coverage report --omit='$(PURE)'

# A release is a venv of its own, beside those before it: the one that runs is not touched. "current" names the newest. The
# configuration of an earlier installation is kept.
install: ## install below PREFIX (/opt/splice) and /etc/splice; DESTDIR is respected
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing: apt install python3-venv" >&2; exit 1; }
	@set -e; name=$(VERSION); number=1; \
	while [ -e "$(DESTDIR)$(RELEASES)/$$name" ]; do number=$$((number + 1)); name=$(VERSION)-$$number; done; \
	$(MAKE) --no-print-directory install-release RELEASE="$(RELEASES)/$$name"; \
	$(MAKE) --no-print-directory install-files; \
	ln -sfn "releases/$$name" "$(DESTDIR)$(PREFIX)/current.new"; \
	mv -T "$(DESTDIR)$(PREFIX)/current.new" "$(DESTDIR)$(PREFIX)/current"

.PHONY: install-release
install-release:
	@echo "installing into $(DESTDIR)$(RELEASE)"
	@$(PYTHON) -m venv "$(DESTDIR)$(RELEASE)"
	@$(PIP) "$(DESTDIR)$(RELEASE)/bin/python" -m pip install --quiet --require-hashes -r requirements.lock
	@$(PIP) "$(DESTDIR)$(RELEASE)/bin/python" -m pip install --quiet --no-index --no-build-isolation --no-deps --force-reinstall .
# What is staged says where it will be, not where it was made.
	@[ -z "$(DESTDIR)" ] || grep -rlIF -- "$(DESTDIR)$(RELEASE)" "$(DESTDIR)$(RELEASE)/bin" "$(DESTDIR)$(RELEASE)/pyvenv.cfg" \
		| xargs -r sed -i 's|$(DESTDIR)$(RELEASE)|$(RELEASE)|g'
# Another user than the one who installs runs it, whatever the umask is.
	@chmod -R go+rX "$(DESTDIR)$(RELEASE)"
	@chmod go+rX "$(DESTDIR)$(PREFIX)" "$(DESTDIR)$(RELEASES)"

# All but the venv: units, the user, the configuration's directory, the command. Whose the directories are is tmpfiles' business.
.PHONY: install-files
install-files:
	@install -d "$(DESTDIR)$(SYSTEMD)/systemd/system" "$(DESTDIR)$(SYSTEMD)/sysusers.d" "$(DESTDIR)$(SYSTEMD)/tmpfiles.d"
	@for unit in $(UNITS); do \
		sed 's|/opt/splice|$(PREFIX)|g' systemd/$$unit >"$(DESTDIR)$(SYSTEMD)/systemd/system/$$unit" || exit; \
		chmod 0644 "$(DESTDIR)$(SYSTEMD)/systemd/system/$$unit"; \
	done
	@install -m 0644 systemd/sysusers.conf "$(DESTDIR)$(SYSTEMD)/sysusers.d/splice.conf"
	@install -m 0644 systemd/tmpfiles.conf "$(DESTDIR)$(SYSTEMD)/tmpfiles.d/splice.conf"
	@install -d "$(DESTDIR)$(PREFIX)/share" "$(DESTDIR)$(PREFIX)/share/doc" "$(DESTDIR)$(PREFIX)/share/doc/splice"
	@install -d "$(DESTDIR)/usr/local/bin"
	@install -m 0644 docs/install.md docs/runbook.md config.example.toml "$(DESTDIR)$(PREFIX)/share/doc/splice"
	@install -d "$(DESTDIR)$(PREFIX)/share/doc/splice/monitoring"
	@install -m 0644 systemd/monitoring/* "$(DESTDIR)$(PREFIX)/share/doc/splice/monitoring"
	@ln -sfn "$(PREFIX)/current/bin/splice" "$(DESTDIR)/usr/local/bin/splice"
	@install -d -m 0750 "$(DESTDIR)/etc/splice"
	@[ -e "$(DESTDIR)/etc/splice/config.toml" ] \
		|| install -m 0640 config.example.toml "$(DESTDIR)/etc/splice/config.toml"
	@[ -z "$(LIVE)" ] || { systemd-sysusers splice.conf && systemd-tmpfiles --create splice.conf && systemctl daemon-reload; }

uninstall: ## remove what install made, except /etc/splice, the state and the user
	@[ -d "$(DESTDIR)$(RELEASES)" ] || { echo "no installation in $(DESTDIR)$(PREFIX)" >&2; exit 1; }
	@[ -z "$(LIVE)" ] || systemctl disable --quiet --now $(UNITS)
	@rm -f -- $(UNITS:%="$(DESTDIR)$(SYSTEMD)/systemd/system/%") \
		"$(DESTDIR)$(SYSTEMD)/sysusers.d/splice.conf" "$(DESTDIR)$(SYSTEMD)/tmpfiles.d/splice.conf"
	@[ "$$(readlink "$(DESTDIR)/usr/local/bin/splice")" != "$(PREFIX)/current/bin/splice" ] || rm -f -- "$(DESTDIR)/usr/local/bin/splice"
	@rm -rf -- "$(DESTDIR)$(PREFIX)"
	@[ -z "$(LIVE)" ] || systemctl daemon-reload
