"""What `zaffre doctor` looks at: the server and its machine, and the variables a client in this shell would read."""
