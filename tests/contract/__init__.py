"""openapi.yaml as others see it: linters, fuzzers, client generators. Their tools are installed apart from our own."""
