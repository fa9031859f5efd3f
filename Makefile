# Headwater: `make demo` and `make test` do all set-up on a fresh Debian or Ubuntu with Rust.

# Tests build our own crate without optimization, in a quarter of the time; dependencies are
# the same as in the product, so nothing is compiled twice.
OWN_CODE_FAST = --config profile.release.package.headwater.opt-level=0

.PHONY: help build demo test bench fmt lint setup setup-test

help:
	@echo "make demo   a live view over generated data in the terminal"
	@echo "make test   all tests"
	@echo "make build  the program (target/release/headwater, or under CARGO_TARGET_DIR)"
	@echo "make bench  benchmarks"
	@echo "make fmt    format the code;  make lint  check format and lints"

setup:
	@.ci/setup build

setup-test:
	@.ci/setup build test

build: setup
	cargo build --release --locked

demo: build
	@cargo run --release --locked --quiet -- demo $(DEMO)

test: setup-test
	cargo test --release --locked --no-fail-fast --tests $(OWN_CODE_FAST)

bench: setup
	cargo bench --locked

fmt:
	cargo fmt

lint: setup
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
