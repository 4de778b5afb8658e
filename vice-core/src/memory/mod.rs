//! In-memory backends: for tests, for simulations, and as the reference that the conformance suites are written against.
