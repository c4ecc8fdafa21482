"""What goes into a job's folder and what comes out of it."""
