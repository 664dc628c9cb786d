# Two commands are all a newcomer needs: `make demo` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Build the release binary and watch it catch made-up incidents; needs no database and no config
	cargo build --release --locked
	target/release/modelwatch demo

test: ## Install or find what the tests need, then run them all
	tests/setup
	tests/run

lint: ## What CI demands besides the tests: format, lints, docs
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

fuzz: ## Feed the parsers of rules and configurations with nonsense, FUZZ_SECONDS each (600); needs `cargo install cargo-fuzz --locked`
	tests/fuzz/run

bench: ## Measure, each figure with its limit; BENCHMARKS.md keeps the results
	tests/setup
	cargo bench --locked --bench bench -- all --record
