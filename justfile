# Short names for what is done often; each recipe is one command that also works without just.

# The list of recipes.
default:
    @just --list

# Builds the release binary.
build:
    cargo build --release -p vice-cli

# Builds and runs the example from deploy to report.
demo *ARGS:
    scripts/demo {{ARGS}}

# Every test, against real servers. Selects with: just test -- -E 'test(resume)'
test *ARGS:
    scripts/test {{ARGS}}

# The tests that need no server.
quick *ARGS:
    scripts/test --quick {{ARGS}}

# Runs one command with the lab's servers up.
lab +COMMAND:
    scripts/lab/run {{COMMAND}}

# Formats everything.
fmt:
    cargo fmt --all

# What the compiler and clippy say; warnings are errors.
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets --features full -- -D warnings

# Bans, licences and sources of all dependencies.
deny:
    cargo deny check bans licenses sources

# The documentation of all crates.
doc:
    cargo doc --workspace --no-deps --features full

# What a change has to pass before it lands.
ci:
    .ci/run

# Runs one benchmark by the name of its folder under bench/, for example: just bench store
bench NAME *ARGS:
    bench/{{NAME}}/run {{ARGS}}
