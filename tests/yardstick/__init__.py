"""MLflow's own tests, run against Zaffre: the yardstick of our fidelity. Not part of `make test`, as their code is not ours."""
