"""The paired gate: two models on one server, measured in turns and compared pair by pair."""
