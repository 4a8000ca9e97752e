# Everything a contributor or an operator types. `make` lists the targets.

STACK := deploy/local/stack
PROFILE ?= dev
# In the dev profile all members, so that the tests have the same features and nothing is compiled twice; else only what is named.
BUILD := cargo build --locked --profile $(PROFILE) $(if $(filter dev,$(PROFILE)),,-p driftless -p driftless-demo) \
  --bin driftless --bin driftless-demo
BIN := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

.DEFAULT_GOAL := help
.PHONY: help build demo demo-down bench check test drill up down clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the daemon and the demo
	@$(STACK) doctor build
	$(BUILD)

# `stack` fetches and starts the servers while cargo compiles; its lines are printed together when it has ended.
demo: ## Watch a live application become equal to PostgreSQL, and its reads follow the proof (about two minutes)
	@$(STACK) doctor
	@mkdir -p .local; { $(STACK) up >.local/up.log 2>&1; up=$$?; cat .local/up.log >&2; exit $$up; } & \
	  echo '$(BUILD)'; $(BUILD); built=$$?; \
	  ! kill -0 $$! 2>/dev/null || echo 'Waiting for the servers; .local/up.log shows how far they are.'; \
	  wait $$! && exit $$built
	@$(BIN)/driftless-demo run

demo-down: ## Stop the demo's daemon and the servers
	@$(BIN)/driftless-demo stop
	@$(STACK) down

# PEER=debezium measures Debezium too; BENCH holds further options, for example BENCH='--quick' or BENCH='--only latency'.
bench: ## Measure everything on servers of its own (half an hour; BENCH=--quick: minutes; PEER=debezium: beside Debezium)
	@$(STACK) doctor build
	cargo build --locked --release -p driftless -p driftless-bench --bin driftless --bin driftless-bench
	@$(STACK) up --instance bench
	target/release/driftless-bench $(if $(PEER),--peer $(PEER)) $(BENCH); \
	  status=$$?; $(STACK) down --instance bench --wipe; exit $$status

check: ## Format, lints and unit tests: the quick loop
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib

test: ## Everything, against real servers that it starts itself
	@$(STACK) doctor build
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib --bins --tests --no-run
	@$(STACK) up
	cargo test --locked --lib --bins --tests

drill: ## The long version of the failure tests (tens of minutes)
	@$(STACK) up
	DRIFTLESS_DRILL=1 cargo test --locked --test laws --test examples -- --nocapture

up: ## Start the local servers
	@$(STACK) up

down: ## Stop the local servers
	@$(STACK) down

clean: ## Stop the local servers and remove their data
	@$(STACK) down --wipe
