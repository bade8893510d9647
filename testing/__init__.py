"""The real engine inside a test, with a clock that the test moves."""
