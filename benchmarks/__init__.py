"""What Zaffre costs, measured by programs anyone can run: `python -m benchmarks` (`make bench`)."""
