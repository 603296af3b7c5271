"""Real certificates, real origins and a real proxy for tests; nothing in here stands in for a class of ours."""
